//! What may be on the disk after the power has failed.
//!
//! What a file was told to synchronise is there. Of what came after, any part may be: some writes
//! and not others, in any order, and the last of them torn. A name that was removed may be there
//! still, with all that it had, until its folder is synchronised.

use std::collections::HashMap;
use std::sync::Arc;

use crate::vfs::Event;

/// The part of a write that is on the disk is of whole sectors.
const SECTOR: usize = 512;

/// Random numbers that a seed decides.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = z ^ (z >> 31);
        usize::try_from(number % end.max(1) as u64).expect("below `end`")
    }
}

#[derive(Default)]
struct Disk<'a> {
    /// `None`: there is no file of this name.
    durable: Option<Vec<u8>>,
    /// Since the last synchronisation.
    pending: Vec<&'a Event>,
}

impl Disk<'_> {
    fn deleted(&self) -> Option<usize> {
        (self.pending.iter()).rposition(|event| matches!(event, Event::Delete { .. }))
    }

    fn is_new(&self) -> bool {
        self.durable.is_none() || self.deleted().is_some()
    }

    /// A removed name is gone for good.
    fn forget_deleted(&mut self) {
        if let Some(at) = self.deleted() {
            self.durable = None;
            self.pending.drain(..=at);
        }
    }
}

/// The files after `events`, then no power. `honest`: synchronising does what it says.
pub(crate) fn image(
    events: &[Event],
    honest: bool,
    random: &mut Random,
) -> HashMap<Arc<str>, Vec<u8>> {
    let mut disks: HashMap<Arc<str>, Disk<'_>> = HashMap::new();
    for event in events {
        match event {
            Event::Write { file, .. } | Event::Truncate { file, .. } => {
                let disk = disks.entry(file.clone()).or_default();
                disk.pending.push(event);
            }
            Event::Delete { file, durable } => {
                let disk = disks.entry(file.clone()).or_default();
                if *durable && honest {
                    *disk = Disk::default();
                } else {
                    disk.pending.push(event);
                }
            }
            Event::Sync { file } if honest => {
                // The first time for a new file, SQLite synchronises its folder too.
                let is_new = disks.get(file).is_none_or(Disk::is_new);
                if is_new {
                    disks.values_mut().for_each(Disk::forget_deleted);
                }
                let disk = disks.entry(file.clone()).or_default();
                for event in std::mem::take(&mut disk.pending) {
                    apply(&mut disk.durable, event, usize::MAX);
                }
            }
            Event::Sync { .. } | Event::Acknowledged { .. } => {}
        }
    }
    let mut files: Vec<_> = disks.into_iter().collect();
    // The seed decides, not the order of a map.
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
        .into_iter()
        .filter_map(|(file, disk)| Some((file, lose(disk, random)?)))
        .collect()
}

/// What is left of a file.
fn lose(disk: Disk<'_>, random: &mut Random) -> Option<Vec<u8>> {
    let deleted = disk.deleted();
    let Disk {
        mut durable,
        pending,
    } = disk;
    // How much of the rest the disk had time for: everything, nothing, or a part.
    let share = [0, 1, 4, 7, 8][random.below(5)];
    // Either the name was removed, and what came after it is of a new file; or it was not.
    let pending = match deleted {
        Some(at) if random.below(2) == 0 => {
            durable = None;
            &pending[at + 1..]
        }
        Some(at) => &pending[..at],
        None => &pending[..],
    };
    let kept: Vec<&Event> = pending
        .iter()
        .copied()
        .filter(|_| random.below(8) < share)
        .collect();
    let torn = random.below(2) == 0;
    for (index, event) in kept.iter().enumerate() {
        let length = match event {
            Event::Write { data, .. } if torn && index + 1 == kept.len() => {
                random.below(data.len() / SECTOR + 1) * SECTOR
            }
            _ => usize::MAX,
        };
        apply(&mut durable, event, length);
    }
    durable
}

/// Does to a file what `event` says, as far as `length` bytes of it.
fn apply(file: &mut Option<Vec<u8>>, event: &Event, length: usize) {
    match event {
        Event::Write { offset, data, .. } => {
            let bytes = file.get_or_insert_default();
            let data = &data[..data.len().min(length)];
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
        Event::Truncate { size, .. } => file.get_or_insert_default().resize(*size, 0),
        Event::Delete { .. } => *file = None,
        Event::Sync { .. } | Event::Acknowledged { .. } => {}
    }
}
