use super::*;

#[test]
fn every_form_is_read() {
    let tcp = |host: &str, port| Place::Tcp { host: host.into(), port };
    let dns = |host: &str, port| Place::Dns { host: host.into(), port };
    let unix = |path: &str| Place::Unix { path: path.into() };
    for (text, place) in [
        ("unix:/run/g1.sock", unix("/run/g1.sock")),
        ("unix:///run/g1.sock", unix("/run/g1.sock")),
        ("unix:run/g1.sock", unix("run/g1.sock")),
        ("tcp://g1:2305", tcp("g1", 2305)),
        ("tcp://10.0.0.1:1", tcp("10.0.0.1", 1)),
        ("tcp://[::1]:2305", tcp("::1", 2305)),
        ("tls://g1.example.org:2305", Place::Tls { host: "g1.example.org".into(), port: 2305 }),
        ("dns:g1", dns("g1", DNS_PORT)),
        ("dns:g1:7", dns("g1", 7)),
        ("dns:///g1", dns("g1", DNS_PORT)),
        ("dns:///g1:7", dns("g1", 7)),
        ("dns://8.8.8.8/g1:7", dns("g1", 7)),
        ("dns://8.8.8.8:53/[::1]", dns("::1", DNS_PORT)),
    ] {
        let address = NodeAddress::new(text).unwrap();
        assert_eq!((address.place(), address.as_str()), (&place, text));
    }
}

#[test]
fn a_refusal_names_the_value_and_what_is_allowed() {
    for (text, problem) in [
        ("", "it is empty"),
        ("g1", "it has no scheme"),
        ("localhost:1234", "its scheme is unknown"),
        ("http://g1:1", "its scheme is unknown"),
        ("TCP://g1:1", "its scheme is unknown"),
        ("tcp:g1:1", "its scheme must be followed by `//`"),
        ("tcp://g1:1/path", "a remote address has no path"),
        ("tcp://g1:1/", "a remote address has no path"),
        ("tls://g1:1/path", "a remote address has no path"),
        ("tcp://:1", "it has no host"),
        ("tls://:1", "it has no host"),
        ("tcp://g1", "it has no port"),
        ("tls://[::1]", "it has no port"),
        ("tcp://g1:0", "its port is not a number from 1 to 65535"),
        ("tcp://g1:65536", "its port is not a number from 1 to 65535"),
        ("tcp://g1:", "its port is not a number from 1 to 65535"),
        ("tcp://::1:5", "an IPv6 address stands in brackets: `[::1]:2305`"),
        ("tcp://[::1:5", "its `[` is not closed"),
        ("tcp://[g1]:5", "what stands in brackets is not an IPv6 address"),
        ("tcp://[::1]5", "something follows the brackets"),
        ("tcp://g 1:5", "it has control characters or blanks"),
        ("tcp://g$1:5", "its host has characters that no host name has"),
        ("unix:", "it has no path"),
        ("unix://host/path", "a unix socket has no host: write `unix:/path` or `unix:///path`"),
        ("unix://", "a unix socket has no host: write `unix:/path` or `unix:///path`"),
        ("dns:", "it has no host"),
        ("dns:///", "it has no host"),
        ("dns://8.8.8.8", "the name must follow the authority: `dns://authority/host`"),
        ("dns:///g1/path", "a remote address has no path"),
    ] {
        let error = NodeAddress::new(text).unwrap_err();
        assert_eq!((error.problem, error.value.as_str()), (problem, text));
        assert!(error.to_string().contains("allowed are `unix:/path`"), "{error}");
    }
    assert!(NodeAddress::new(format!("unix:/{}", "x".repeat(103))).is_err());
}

#[test]
fn credentials_are_refused_and_not_repeated() {
    for text in ["tcp://user:secret@g1:1", "dns:user:secret@g1", "user:secret@g1"] {
        let error = NodeAddress::new(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn an_address_is_checked_when_it_is_deserialised_too() {
    assert!(serde_json::from_str::<NodeAddress>("\"localhost:1\"").is_err());
    let address: NodeAddress = serde_json::from_str("\"tcp://g1:1\"").unwrap();
    assert_eq!(serde_json::to_string(&address).unwrap(), "\"tcp://g1:1\"");
}
