//! What the kernel asks about: marks on files, on directories for the files in them, and on whole file systems.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::sys::fanotify::{Fanotify as Marker, MarkFlags, MaskFlags};

use super::error::StartError;
use super::mounts::{Mount, mounts};
use super::rules::{FanotifyRules, Filesystems};
use crate::layout::FileId;

/// The marks of one group.
#[derive(Debug)]
pub(super) struct Marks {
    marker: Marker,
    /// Files and directories: one mark each, whatever it asks for.
    inodes: HashSet<FileId>,
    /// Devices whose file system has a mark, and what it asks for.
    filesystems: HashMap<u32, u64>,
}

impl Marks {
    pub(super) fn new(marker: Marker) -> Self {
        Self { marker, inodes: HashSet::new(), filesystems: HashMap::new() }
    }

    /// Asks about each opening of the file at `link`, by whatever name.
    pub(super) fn file(&mut self, link: &Path, id: FileId, directory: bool) -> io::Result<()> {
        let mut mask = MaskFlags::FAN_OPEN_PERM;
        if directory {
            mask |= MaskFlags::FAN_ONDIR;
        }
        self.mark(MarkFlags::FAN_MARK_ADD, mask, link)?;
        self.inodes.insert(id);
        Ok(())
    }

    /// Asks about each opening of what is in the directory at `link`: so files are seen that come later.
    pub(super) fn directory(&mut self, link: &Path, id: FileId) -> io::Result<()> {
        let mask = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR | MaskFlags::FAN_EVENT_ON_CHILD;
        self.mark(MarkFlags::FAN_MARK_ADD, mask, link)?;
        self.inodes.insert(id);
        Ok(())
    }

    /// Marks the file systems where programs are watched, or files that are known by number alone. Returns those that
    /// take no mark.
    pub(super) fn filesystems(&mut self, rules: &FanotifyRules) -> Result<Vec<PathBuf>, StartError> {
        let numbered: HashMap<u32, _> = rules
            .inodes
            .iter()
            .map(|(file, origin)| (file.device, *origin))
            .chain(rules.scoped.iter().filter_map(|(file, list)| Some((file.device, list.first()?.1))))
            .collect();
        if numbered.is_empty() && !rules.watch_programs() {
            return Ok(Vec::new());
        }
        let mounted = mounts().map_err(|source| StartError::Mounts { source })?;
        let wanted = |mount: &Mount| match &rules.filesystems {
            Filesystems::All => true,
            Filesystems::Of(points) => points.contains(&mount.point),
        };
        let mut unmarked = Vec::new();
        for mount in mounted.iter().filter(|mount| wanted(mount)) {
            let mut mask = MaskFlags::empty();
            if rules.watch_programs() && !mount.has_no_programs() {
                if mount.is_served() && rules.filesystems == Filesystems::All {
                    unmarked.push(mount.point.clone());
                } else {
                    mask |= MaskFlags::FAN_OPEN_EXEC_PERM;
                }
            }
            if numbered.contains_key(&mount.device) {
                mask |= MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR;
            }
            let marked = self.filesystems.get(&mount.device).copied().unwrap_or_default();
            if mask.bits() & !marked == 0 {
                continue;
            }
            match self.mark(MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM, mask, &mount.point) {
                Ok(()) => {
                    self.filesystems.insert(mount.device, marked | mask.bits());
                }
                Err(source) if numbered.contains_key(&mount.device) => {
                    return Err(StartError::Mark { path: mount.point.clone(), source });
                }
                // Another mount of the same file system may have taken it.
                Err(_) if marked != 0 => {}
                Err(_) => unmarked.push(mount.point.clone()),
            }
        }
        if let Some((_, origin)) = numbered.iter().find(|(device, _)| !self.filesystems.contains_key(device))
        {
            return Err(StartError::NoDevice { section: origin.section, line: origin.line });
        }
        Ok(unmarked)
    }

    /// How many marks were made.
    pub(super) fn count(&self) -> usize {
        self.inodes.len() + self.filesystems.len()
    }

    /// Counts files and directories anew: those that are gone took their marks with them.
    pub(super) fn forget_inodes(&mut self) {
        self.inodes.clear();
    }

    fn mark(&self, flags: MarkFlags, mask: MaskFlags, path: &Path) -> io::Result<()> {
        // The path is absolute, so the descriptor of a directory does not matter; this one is at hand.
        Ok(self.marker.mark(flags, mask, self.marker.as_fd(), Some(path))?)
    }
}
