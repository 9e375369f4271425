//! Which file systems can carry the database.
//!
//! WAL needs shared memory between all processes and locks that hold. A network file system has neither across hosts,
//! and a supervisor on another host would corrupt the file or, worse, win an election next to ours. So a remote one is
//! refused. Two kinds are remote only sometimes, and their options tell: 9p is a shared folder of a virtual machine
//! (one host) unless its transport is a socket; FUSE is whatever its sub-type says, and an unknown one is taken for
//! local, since most are (overlays, encrypted folders, foreign disks).

use std::{io, path::Path};

/// The magic numbers of file systems that are remote by nature (`statfs(2)`).
#[cfg(target_os = "linux")]
const REMOTE: [(u32, &str); 15] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "kafs"),
    (0x7375_7245, "coda"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
    (0x1983_0326, "beegfs"),
    (0x4750_4653, "gpfs"),
    (0xAAD7_AAEA, "panfs"),
    (0x564C, "ncp"),
];
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;
#[cfg(target_os = "linux")]
const NINE_P: u32 = 0x0102_1997;
/// FUSE sub-types that speak to another host.
#[cfg(target_os = "linux")]
const FUSE_REMOTE: [&str; 14] = [
    "sshfs",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "s3fs",
    "rclone",
    "gcsfuse",
    "davfs",
    "davfs2",
    "juicefs",
    "mfs",
    "moosefs",
    "smbnetfs",
    "curlftpfs",
];

/// The name of the network file system that holds `path`; `None` if it is local, or cannot be told.
#[cfg(target_os = "linux")]
pub(super) fn remote(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let stat = rustix::fs::statfs(path).ok()?;
    let magic = u32::try_from(i128::from(stat.f_type) & 0xFFFF_FFFF).ok()?;
    let device = std::fs::metadata(path).map(|found| found.dev()).unwrap_or_default();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    remote_kind(magic, &device, mounts)
}

/// Elsewhere the numbers differ; there the documentation is all the protection there is.
#[cfg(not(target_os = "linux"))]
pub(super) fn remote(_: &Path) -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
fn remote_kind(magic: u32, device: &str, mounts: impl FnOnce() -> String) -> Option<String> {
    if let Some((_, name)) = REMOTE.iter().find(|(number, _)| *number == magic) {
        return Some((*name).to_owned());
    }
    if magic != FUSE && magic != NINE_P {
        return None;
    }
    // `36 35 98:0 /root /mount options - type source super-options`
    let mounts = mounts();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let (kind, rest) = line.split_once(" - ")?.1.split_once(' ')?;
    let socket = rest.contains("trans=tcp") || rest.contains("trans=rdma");
    let fuse = kind.strip_prefix("fuse.").is_some_and(|sub| FUSE_REMOTE.contains(&sub));
    let is_remote = if magic == NINE_P { socket } else { fuse };
    is_remote.then(|| kind.to_owned())
}

/// Whether this process may write there, by its effective user; a file system mounted read-only says no to root, too.
pub(super) fn writable(path: &Path) -> io::Result<()> {
    let flags = rustix::fs::AtFlags::EACCESS;
    Ok(rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::WRITE_OK, flags)?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn remote_file_systems_are_told_from_local_ones() {
        let mounts = || {
            "1 2 0:50 / /a rw - fuse.sshfs me@host rw\n1 2 0:51 / /b rw - fuse.portal x rw\n\
             1 2 0:52 / /c rw - 9p x rw,trans=tcp\n1 2 0:53 / /d rw - 9p x rw,trans=virtio\n"
                .to_owned()
        };
        for (magic, device, remote) in [
            (0x6969, "0:1", Some("nfs")),
            (0xFF53_4D42, "0:1", Some("cifs")),
            (0xFE53_4D42, "0:1", Some("smb2")),
            (0xEF53, "0:1", None),
            (FUSE, "0:50", Some("fuse.sshfs")),
            (FUSE, "0:51", None),
            (FUSE, "0:99", None),
            (NINE_P, "0:52", Some("9p")),
            (NINE_P, "0:53", None),
        ] {
            assert_eq!(remote_kind(magic, device, mounts).as_deref(), remote, "{magic:x} {device}");
        }
        assert_eq!(super::remote(Path::new("/")), None, "where the tests run is local");
    }
}
