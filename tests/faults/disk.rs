//! What may be on the disk after the power has failed, worked out from all that a process did.
//!
//! The content of a file is there as far as the file was synchronised; of what came after, any part
//! may be: some writes and not others, and the last of them torn. A name is there for good when its
//! folder was synchronised after it was made, changed or removed; of what came after, each folder
//! keeps the beginning, up to any point. A rename takes place as a whole. Synchronising a file says
//! nothing about its name.
//!
//! File systems with a journal promise more than that. What is right here is right on them as well.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::Random;

/// The part of a write that is on the disk is of whole sectors.
const SECTOR: usize = 512;

/// What a process did, as the shim wrote it down.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) op: String,
    offset: usize,
    path: PathBuf,
    other: PathBuf,
    data: Vec<u8>,
}

/// Reads a record; what is cut off at its end is left out.
pub(crate) fn events(record: &Path) -> Vec<Event> {
    let bytes = std::fs::read(record).expect("the record");
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let words: Vec<&str> = head.split('\t').collect();
        let [op, offset, length, path, other] = words[..] else {
            panic!("a record of {head:?}");
        };
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let length = number(length);
        let Some(data) = rest.get(end + 1..end + 1 + length) else {
            break;
        };
        events.push(Event {
            op: op.to_owned(),
            offset: number(offset),
            path: path.into(),
            other: other.into(),
            data: data.to_vec(),
        });
        rest = &rest[end + 1 + length..];
    }
    events
}

type Number = usize;

/// A change of a file's content that is not on the disk yet.
#[derive(Clone, Copy)]
enum Change<'e> {
    Write(usize, &'e [u8]),
    Truncate(usize),
}

#[derive(Default, Clone)]
struct File<'e> {
    durable: Vec<u8>,
    pending: Vec<Change<'e>>,
}

/// Names that change together: in which folder, which name, and what it means then.
type Names = Vec<(Number, String, Option<Number>)>;

/// All files and folders below a root, by number; 0 is the root.
pub(crate) struct Disk<'e> {
    root: PathBuf,
    files: Vec<File<'e>>,
    folders: BTreeSet<Number>,
    now: HashMap<Number, BTreeMap<String, Number>>,
    durable: HashMap<Number, BTreeMap<String, Number>>,
    pending: Vec<Names>,
}

impl<'e> Disk<'e> {
    /// After `events` below `root`, which was empty. Unless it is `honest`, synchronising does
    /// nothing.
    pub(crate) fn after(root: &Path, events: &'e [Event], honest: bool) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: vec![File::default()],
            folders: BTreeSet::from([0]),
            now: HashMap::new(),
            durable: HashMap::new(),
            pending: Vec::new(),
        };
        for event in events {
            disk.apply(event, honest);
        }
        disk
    }

    fn apply(&mut self, event: &'e Event, honest: bool) {
        let path = &*event.path;
        match &*event.op {
            "create" | "mkdir" => {
                self.files.push(File::default());
                let number = self.files.len() - 1;
                if event.op == "mkdir" {
                    self.folders.insert(number);
                }
                self.rename(vec![self.name(path, Some(number))]);
            }
            "unlink" | "rmdir" => self.rename(vec![self.name(path, None)]),
            "link" => self.rename(vec![self.name(&event.other, self.find(path))]),
            "rename" => {
                let moved = self.find(path);
                self.rename(vec![self.name(path, None), self.name(&event.other, moved)]);
            }
            "exchange" => {
                let (one, two) = (self.find(path), self.find(&event.other));
                self.rename(vec![self.name(path, two), self.name(&event.other, one)]);
            }
            "write" => self.change(path, Change::Write(event.offset, &event.data)),
            "truncate" => self.change(path, Change::Truncate(event.offset)),
            "syncfs" if honest => {
                (0..self.files.len()).for_each(|number| self.sync_file(number));
                self.pending
                    .drain(..)
                    .collect::<Vec<_>>()
                    .iter()
                    .for_each(|names| keep(&mut self.durable, names));
            }
            "fsync" | "fdatasync" if honest => match self.find(path) {
                Some(folder) if self.folders.contains(&folder) => self.sync_folder(folder),
                Some(file) => self.sync_file(file),
                // It was removed while it was open.
                None => {}
            },
            _ => {}
        }
    }

    fn find(&self, path: &Path) -> Option<Number> {
        let below = path.strip_prefix(&self.root).ok()?;
        below.iter().try_fold(0, |folder, name| {
            self.now.get(&folder)?.get(name.to_str()?).copied()
        })
    }

    fn name(&self, path: &Path, means: Option<Number>) -> (Number, String, Option<Number>) {
        let folder = path.parent().and_then(|parent| self.find(parent));
        let name = path.file_name().and_then(|name| name.to_str());
        (
            folder.unwrap_or_else(|| panic!("no folder for {}", path.display())),
            name.expect("a name").to_owned(),
            means,
        )
    }

    fn rename(&mut self, names: Names) {
        keep(&mut self.now, &names);
        self.pending.push(names);
    }

    fn change(&mut self, path: &Path, change: Change<'e>) {
        // What was removed while it was open is nobody's.
        if let Some(number) = self.find(path) {
            self.files[number].pending.push(change);
        }
    }

    fn sync_file(&mut self, number: Number) {
        let file = &mut self.files[number];
        for change in std::mem::take(&mut file.pending) {
            write(&mut file.durable, change, usize::MAX);
        }
    }

    /// Puts the names of a folder on the disk, and so those of other folders that changed with them
    /// or before them.
    fn sync_folder(&mut self, folder: Number) {
        let mut folders = BTreeSet::from([folder]);
        let mut kept = vec![false; self.pending.len()];
        for (names, kept) in self.pending.iter().zip(&mut kept).rev() {
            if names.iter().any(|(folder, ..)| folders.contains(folder)) {
                *kept = true;
                folders.extend(names.iter().map(|(folder, ..)| *folder));
            }
        }
        for (names, kept) in std::mem::take(&mut self.pending).into_iter().zip(kept) {
            match kept {
                true => keep(&mut self.durable, &names),
                false => self.pending.push(names),
            }
        }
    }

    /// Puts into `folder` what may be left when the power fails now.
    pub(crate) fn fail(mut self, folder: &Path, random: &mut Random) {
        // How much the disk had time for: everything, nothing, or a part.
        let share = [0, 1, 4, 7, 8][random.index(5)];
        let mut cut: BTreeSet<Number> = BTreeSet::new();
        for names in std::mem::take(&mut self.pending) {
            let late = names.iter().any(|(folder, ..)| cut.contains(folder));
            if late || random.index(8) >= share {
                cut.extend(names.iter().map(|(folder, ..)| *folder));
            } else {
                keep(&mut self.durable, &names);
            }
        }
        self.put(0, folder, share, random);
    }

    fn put(&self, number: Number, into: &Path, share: usize, random: &mut Random) {
        for (name, number) in self.durable.get(&number).into_iter().flatten() {
            let path = into.join(name);
            if self.folders.contains(number) {
                std::fs::create_dir(&path).expect("a folder");
                self.put(*number, &path, share, random);
            } else {
                let bytes = left(&self.files[*number], share, random);
                std::fs::write(&path, bytes).expect("a file");
                private(&path);
            }
        }
    }
}

/// Keys are refused where others can read them.
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("private");
}

fn keep(tree: &mut HashMap<Number, BTreeMap<String, Number>>, names: &Names) {
    for (folder, name, means) in names {
        let folder = tree.entry(*folder).or_default();
        match means {
            Some(number) => drop(folder.insert(name.clone(), *number)),
            None => drop(folder.remove(name)),
        }
    }
}

fn left(file: &File<'_>, share: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    let kept: Vec<&Change<'_>> = (file.pending.iter())
        .filter(|_| random.index(8) < share)
        .collect();
    let torn = random.index(2) == 0;
    for (index, change) in kept.iter().enumerate() {
        let length = match change {
            Change::Write(_, data) if torn && index + 1 == kept.len() => {
                random.index(data.len() / SECTOR + 1) * SECTOR
            }
            _ => usize::MAX,
        };
        write(&mut bytes, **change, length);
    }
    bytes
}

/// Does to a file what `change` says, as far as `length` bytes of it.
fn write(bytes: &mut Vec<u8>, change: Change<'_>, length: usize) {
    match change {
        Change::Write(offset, data) => {
            let data = &data[..data.len().min(length)];
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[offset..offset + data.len()].copy_from_slice(data);
        }
        Change::Truncate(size) => bytes.resize(size, 0),
    }
}
