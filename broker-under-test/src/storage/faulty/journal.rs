//! What is not durable yet: changes to files and to names, in their order, each with what it takes to undo it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::super::{Storage, StoredFile};

/// How sure a change of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The next flush makes it durable.
    Pending,
    /// Its flush failed: no later one speaks for it.
    Doubtful,
    /// Durable, and kept only because something in front of it is doubtful.
    Durable,
}

/// A change of a file.
#[derive(Debug)]
pub(super) struct Change {
    pub sequence: u64,
    pub state: State,
    pub position: u64,
    /// Bytes written; a cut has none.
    pub bytes: u64,
    /// Length of the file before and after.
    pub length: (u64, u64),
    /// What stood there, as far as it goes.
    pub before: Vec<u8>,
}

/// A file, whatever its name is now.
#[derive(Debug)]
pub(super) struct Inode {
    pub location: PathBuf,
    pub changes: Vec<Change>,
}

/// A change of a name.
#[derive(Debug)]
pub(super) struct Naming {
    pub sequence: u64,
    /// The folder that has to be flushed.
    pub folder: u64,
    pub what: NameChange,
}

#[derive(Debug)]
pub(super) enum NameChange {
    Create(PathBuf),
    /// The file waits in the graveyard.
    Remove(PathBuf, PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
        /// Where the file that had the name waits.
        replaced: Option<PathBuf>,
    },
    CreateFolder(PathBuf),
    RemoveFolder(PathBuf, u64),
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub sequence: u64,
    pub inodes: BTreeMap<u64, Inode>,
    pub names: Vec<Naming>,
    /// Files by the name they have now.
    live: HashMap<PathBuf, u64>,
    /// Folders: one that is made again is another one.
    folders: HashMap<PathBuf, u64>,
}

impl Journal {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// The file that has this name now.
    pub fn inode(&mut self, path: &Path) -> u64 {
        if let Some(id) = self.live.get(path) {
            return *id;
        }
        let id = self.next();
        let inode = Inode {
            location: path.to_owned(),
            changes: Vec::new(),
        };
        self.inodes.insert(id, inode);
        self.live.insert(path.to_owned(), id);
        id
    }

    fn folder(&mut self, path: &Path) -> u64 {
        if let Some(id) = self.folders.get(path) {
            return *id;
        }
        let id = self.next();
        self.folders.insert(path.to_owned(), id);
        id
    }

    fn name(&mut self, path: &Path, what: NameChange) {
        let folder = self.folder(parent(path));
        let sequence = self.next();
        self.names.push(Naming { sequence, folder, what });
    }

    /// To be called in front of a write.
    pub fn writes(&mut self, inode: u64, file: &dyn StoredFile, position: u64, bytes: u64) -> io::Result<()> {
        let length = file.bytes()?;
        let end = position + bytes;
        self.change(
            inode,
            file,
            (position, bytes),
            end.min(length),
            (length, length.max(end)),
        )
    }

    /// To be called in front of a cut.
    pub fn cuts(&mut self, inode: u64, file: &dyn StoredFile, bytes: u64) -> io::Result<()> {
        let length = file.bytes()?;
        self.change(inode, file, (bytes, 0), length, (length, bytes))
    }

    fn change(
        &mut self,
        inode: u64,
        file: &dyn StoredFile,
        (position, bytes): (u64, u64),
        before_end: u64,
        length: (u64, u64),
    ) -> io::Result<()> {
        let mut before = vec![0; before_end.saturating_sub(position) as usize];
        file.read_exact_at(&mut before, position)?;
        let sequence = self.next();
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.changes.push(Change {
                sequence,
                state: State::Pending,
                position,
                bytes,
                length,
                before,
            });
        }
        Ok(())
    }

    /// A flush that began at `sequence` is over.
    pub fn flushed(&mut self, inode: u64, sequence: u64, failed: bool) {
        let Some(inode) = self.inodes.get_mut(&inode) else {
            return;
        };
        let to = if failed { State::Doubtful } else { State::Durable };
        let covered = |c: &&mut Change| c.sequence <= sequence && c.state == State::Pending;
        inode.changes.iter_mut().filter(covered).for_each(|c| c.state = to);
        let sure = inode.changes.iter().take_while(|c| c.state == State::Durable).count();
        inode.changes.drain(..sure);
    }

    pub fn created(&mut self, path: &Path) -> u64 {
        self.name(path, NameChange::Create(path.to_owned()));
        self.inode(path)
    }

    pub fn removed(&mut self, path: &Path, grave: &Path) {
        self.moved(path, grave);
        self.name(path, NameChange::Remove(path.to_owned(), grave.to_owned()));
    }

    pub fn renamed(&mut self, from: &Path, to: &Path, replaced: Option<PathBuf>) {
        if let Some(grave) = &replaced {
            self.moved(to, grave);
        }
        self.moved(from, to);
        let what = NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            replaced,
        };
        self.name(to, what);
    }

    fn moved(&mut self, from: &Path, to: &Path) {
        let id = self.inode(from);
        self.live.remove(from);
        self.live.insert(to.to_owned(), id);
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.location = to.to_owned();
        }
    }

    pub fn folder_created(&mut self, path: &Path) {
        self.name(path, NameChange::CreateFolder(path.to_owned()));
    }

    pub fn folder_removed(&mut self, path: &Path) {
        let id = self.folder(path);
        self.folders.remove(path);
        self.name(path, NameChange::RemoveFolder(path.to_owned(), id));
    }

    /// The names in a folder are durable. Answers the files that nobody can get back any more.
    pub fn folder_flushed(&mut self, path: &Path, sequence: u64) -> Vec<PathBuf> {
        let mut folders = vec![self.folder(path)];
        let mut graves = Vec::new();
        // A folder that is gone for good takes along what was still open about the names in it.
        while let Some(folder) = folders.pop() {
            self.names.retain(|naming| {
                if naming.folder != folder || naming.sequence > sequence {
                    return true;
                }
                match &naming.what {
                    NameChange::Remove(_, grave) => graves.push(grave.clone()),
                    NameChange::Rename { replaced, .. } => graves.extend(replaced.clone()),
                    NameChange::RemoveFolder(_, id) => folders.push(*id),
                    NameChange::Create(_) | NameChange::CreateFolder(_) => {}
                }
                false
            });
        }
        for grave in &graves {
            if let Some(id) = self.live.remove(grave) {
                self.inodes.remove(&id);
            }
        }
        graves
    }
}

/// The folder of a path.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Takes one change of a file back.
pub(super) fn undo(file: &dyn StoredFile, change: &Change) -> io::Result<()> {
    if !change.before.is_empty() {
        file.write_all_at(&mut [IoSlice::new(&change.before)], change.position)?;
    }
    file.set_len(change.length.0)
}

/// Takes one change of a name back.
pub(super) fn undo_name(storage: &dyn Storage, what: &NameChange) -> io::Result<()> {
    match what {
        NameChange::Create(path) => storage.remove_file(path),
        NameChange::Remove(path, grave) => storage.rename(grave, path),
        NameChange::Rename { from, to, replaced } => {
            storage.rename(to, from)?;
            replaced.as_ref().map_or(Ok(()), |grave| storage.rename(grave, to))
        }
        // With what is in it: a folder that is not there has no files, durable or not.
        NameChange::CreateFolder(path) => storage.remove_dir(path),
        NameChange::RemoveFolder(path, _) => storage.create_dir(path),
    }
}
