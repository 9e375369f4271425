//! The form of the epoch log: text, a line per batch, each with its checksum.
//!
//! ```text
//! quorate epoch log 1
//! 5f0c2a11 [{"cluster":"3c9f…"},{"accepted":{"repository":7,"epoch":"1.5","primary":"g1"}}]
//! ```
//!
//! One line is one write and one fsync, and nobody was answered before that. So a last line that was not written whole
//! was answered to nobody and is dropped; any other line that cannot be read was, and the node must not serve without
//! it. Written whole means: it ends. A file system that grew the file before it wrote the data leaves zero bytes, which
//! no line of ours has.

use super::table::{Entry, EpochTable};

/// The first line; the number is that of the form.
pub(super) const HEADER: &[u8] = b"quorate epoch log 1\n";

/// What a log holds.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) table: EpochTable,
    /// Up to where it is whole.
    pub(super) length: u64,
    pub(super) entries: usize,
}

/// Where and why a log cannot be read.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) problem: &'static str,
}

/// One batch as a line.
pub(super) fn encode(entries: &[Entry]) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_string(entries)?;
    Ok(format!("{:08x} {text}\n", crc32(text.as_bytes())).into_bytes())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Damage> {
    let Some(body) = bytes.strip_prefix(HEADER) else {
        return Err(Damage { offset: 0, problem: "it does not begin as an epoch log of form 1" });
    };
    let mut decoded = Decoded { table: EpochTable::default(), length: HEADER.len() as u64, entries: 0 };
    let mut rest = body;
    while !rest.is_empty() {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        let (line, after) = rest.split_at(end + 1);
        match entries(line) {
            Ok(entries) => {
                decoded.entries += entries.len();
                entries.iter().for_each(|entry| decoded.table.apply(entry));
            }
            Err(_) if after.is_empty() && line.contains(&0) => break,
            Err(problem) => return Err(Damage { offset: decoded.length, problem }),
        }
        decoded.length += line.len() as u64;
        rest = after;
    }
    Ok(decoded)
}

fn entries(line: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "a record is not text")?;
    let (sum, text) = line.trim_end_matches('\n').split_once(' ').ok_or("a record has no checksum")?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16) != Ok(crc32(text.as_bytes())) {
        return Err("a record's checksum does not match");
    }
    serde_json::from_str(text).map_err(|_| "a record holds what this version does not know")
}

/// CRC-32 as in zip and Ethernet. Bit by bit: a record is a hundred bytes, and the fsync after it costs far more.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn zeros_at_the_end_are_a_write_that_never_was_and_elsewhere_damage() {
        let batch = encode(&[Entry::Cluster("c".parse().unwrap())]).unwrap();
        let whole = [HEADER, &batch].concat();
        for tail in [&[0; 9][..], b"\0\0\0\0}]\n", b"1234"] {
            assert_eq!(decode(&[&whole, tail].concat()).unwrap().length, whole.len() as u64);
        }
        let damage = decode(&[&whole, &b"\0\0}]\n"[..], &batch].concat()).unwrap_err();
        assert_eq!(damage.offset, whole.len() as u64);
    }
}
