//! One repository on disk: an append log of objects, each durable before it is answered for.
//!
//! A record is its length, its checksum, the object's number and its bytes. A torn last record is cut off when the log
//! is opened: it was never answered for. A log is replaced as a whole by writing a new one and renaming it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Length and checksum.
const HEADER: usize = 12;

/// The objects of one repository, all in memory: this is an example.
#[derive(Debug)]
pub(crate) struct ObjectLog {
    path: PathBuf,
    file: File,
    objects: BTreeMap<u64, Vec<u8>>,
}

impl ObjectLog {
    /// Opens a log, or makes an empty one.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut objects = BTreeMap::new();
        let mut whole = 0;
        while let Some((number, data, length)) = record_at(&bytes[whole..]) {
            objects.insert(number, data.to_vec());
            whole += length;
        }
        file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
        file.sync_all()?;
        sync_folder(&path)?;
        Ok(Self { path, file, objects })
    }

    /// Stores an object over whatever has its number. Durable when it returns.
    pub(crate) fn put(&mut self, number: u64, data: Vec<u8>) -> io::Result<()> {
        self.file.write_all(&record(number, &data)?)?;
        self.file.sync_data()?;
        self.objects.insert(number, data);
        Ok(())
    }

    /// Takes over a whole other state; what was here and is not there is gone. Durable when it returns; after a crash
    /// either the old state is there or the new one.
    pub(crate) fn replace(&mut self, objects: BTreeMap<u64, Vec<u8>>) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
        for (number, data) in &objects {
            file.write_all(&record(*number, data)?)?;
        }
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        sync_folder(&self.path)?;
        self.file = OpenOptions::new().append(true).read(true).open(&self.path)?;
        self.objects = objects;
        Ok(())
    }

    pub(crate) fn objects(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.objects
    }
}

fn record(number: u64, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend_from_slice(data);
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&checksum(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// The first record, and how many bytes it takes; `None` if it is not all there.
fn record_at(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let length = usize::try_from(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let sum = u64::from_le_bytes(bytes.get(4..HEADER)?.try_into().ok()?);
    let payload = bytes.get(HEADER..HEADER + length)?;
    let number = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    (checksum(payload) == sum).then(|| (number, &payload[8..], HEADER + length))
}

/// FNV-1a: enough to tell a torn record.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
