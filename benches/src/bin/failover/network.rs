//! A network that can lose packets: the nodes behind a link of their own.
//!
//! Packets are dropped by a wrong entry in the table of neighbours: they leave for a station that is not there. Nothing is
//! refused, nothing is reset, and no module of the kernel is needed for it, as a filter or `netem` would be.

use crate::cluster::{Failure, world::OUTSIDE};
use std::{net::Ipv4Addr, process::Command};

const NAME: &str = "quorate-bench";
const HERE: &str = "quorate-b0";
const THERE: &str = "quorate-b1";
/// Nobody's.
const NOWHERE: &str = "02:00:00:00:00:01";
/// As many as there are nodes.
const ADDRESSES: u32 = 3;

/// The namespace and the link to it; both go with this.
pub(crate) struct Network(());

impl Network {
    /// Makes it; the error says what is not permitted here.
    pub(crate) fn new() -> Result<Network, Failure> {
        // What an earlier run left behind when it was killed.
        drop(Network(()));
        run(&["netns", "add", NAME])?;
        let network = Network(());
        run(&["link", "add", HERE, "type", "veth", "peer", "name", THERE])?;
        run(&["link", "set", THERE, "netns", NAME])?;
        let first = u32::from(OUTSIDE);
        run(&["addr", "add", &format!("{}/24", Ipv4Addr::from(first.saturating_sub(10))), "dev", HERE])?;
        run(&["link", "set", HERE, "up"])?;
        for offset in 0..ADDRESSES {
            let address = format!("{}/24", Ipv4Addr::from(first.saturating_add(offset)));
            run(&["-n", NAME, "addr", "add", &address, "dev", THERE])?;
        }
        for link in [THERE, "lo"] {
            run(&["-n", NAME, "link", "set", link, "up"])?;
        }
        Ok(network)
    }

    pub(crate) fn name(&self) -> &'static str {
        NAME
    }

    /// From now on nothing that is sent from here arrives there.
    pub(crate) fn drop_to(&self, address: std::net::IpAddr) -> Result<(), Failure> {
        let address = address.to_string();
        run(&["neigh", "replace", &address, "lladdr", NOWHERE, "dev", HERE, "nud", "permanent"])
    }

    /// It arrives again.
    pub(crate) fn heal(&self, address: std::net::IpAddr) -> Result<(), Failure> {
        run(&["neigh", "del", &address.to_string(), "dev", HERE])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Each may be gone with the other.
        let _ = run(&["link", "del", HERE]);
        let _ = run(&["netns", "del", NAME]);
    }
}

fn run(words: &[&str]) -> Result<(), Failure> {
    let told = Command::new("ip").args(words).output().map_err(|error| format!("ip (iproute2): {error}"))?;
    if told.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&told.stderr).trim()).into())
}
