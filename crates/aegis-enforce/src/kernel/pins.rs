//! What is pinned: made whole, adopted, replaced, removed.
//!
//! Below the directory: `links/PROGRAM`, which keeps each program on its hook, and `maps/NAME`. Beside it, for as long as
//! it takes to replace them: `NAME_new`, which is filled and then renamed, and `NAME_old`. A BPF file system takes no name
//! with a dot.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, MapType};

use super::attach::{failed, object_digest};
use super::{Backend, Enforcement, name};
use crate::error::KernelError;
use crate::layout::{FileId, SelfKind, self_key, u32_at};

/// The value of `aegis_meta`: layout of the maps, backend, SHA-256 of the programs.
const META: usize = 40;
/// `AEGIS_LAYOUT`
const LAYOUT: u32 = 3;

fn beside(pins: &Path, suffix: &str) -> PathBuf {
    let mut path = pins.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn pin_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KernelError {
    let path = path.to_path_buf();
    move |source| KernelError::Pin { action, path, source }
}

/// A pin that the library made or did not: its own errors are those of the system.
fn of_library(action: &'static str, path: &Path) -> impl FnOnce(libbpf_rs::Error) -> KernelError {
    let path = path.to_path_buf();
    move |error| KernelError::Pin { action, path, source: io::Error::other(error.to_string()) }
}

/// Pins everything below `NAME_new`.
pub(super) fn pin(
    pins: &Path,
    enforcement: &mut Enforcement,
    links: Vec<(String, Link)>,
) -> Result<(), KernelError> {
    let new = beside(pins, "_new");
    remove(&new)?;
    let result = fill(&new, enforcement, links);
    if result.is_err() {
        let _ = remove(&new);
    }
    result
}

fn fill(new: &Path, enforcement: &mut Enforcement, links: Vec<(String, Link)>) -> Result<(), KernelError> {
    let (of_links, of_maps) = (new.join("links"), new.join("maps"));
    for directory in [new, &of_links, &of_maps] {
        let made = fs::DirBuilder::new().mode(0o700).create(directory);
        made.map_err(pin_error("make the directory", directory))?;
    }
    let meta = meta_map(enforcement.backend)?;
    for (name, map) in enforcement.maps.iter_mut().map(|(name, map)| (*name, map)) {
        let path = of_maps.join(name);
        map.pin(&path).map_err(of_library("pin", &path))?;
    }
    let mut meta = meta;
    let path = of_maps.join(name::META);
    meta.pin(&path).map_err(of_library("pin", &path))?;
    for (program, mut link) in links {
        let path = of_links.join(program);
        link.pin(&path).map_err(of_library("pin", &path))?;
        // The pin holds it now; the descriptor goes with this value.
    }
    let own = [new, &of_links, &of_maps].into_iter().filter_map(|path| file_id(path).ok());
    enforcement.own(&[], &own.collect::<Vec<_>>())?;
    let device = file_id(new).map_err(pin_error("look at", new))?.device;
    let key = self_key(FileId { inode: 0, device }, SelfKind::FileSystem);
    let written = enforcement.map(name::SELF)?.update(&key, &1_u32.to_ne_bytes(), MapFlags::ANY);
    written.map_err(|source| failed("write", name::SELF, source))
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok(FileId::of_stat(metadata.dev(), metadata.ino()))
}

fn meta_map(backend: Backend) -> Result<MapHandle, KernelError> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let size = u32::try_from(META).unwrap_or(u32::MAX);
    let map = MapHandle::create(MapType::Array, Some(name::META), 4, size, 1, &options);
    let map = map.map_err(|source| failed("make", name::META, source))?;
    let mut value = Vec::with_capacity(META);
    value.extend(LAYOUT.to_ne_bytes());
    value.extend((backend as u32).to_ne_bytes());
    value.extend(object_digest());
    let written = map.update(&0_u32.to_ne_bytes(), &value, MapFlags::ANY);
    written.map_err(|source| failed("write", name::META, source))?;
    Ok(map)
}

/// Removes a directory of pins with everything in it. One that is not there is removed already.
fn remove(directory: &Path) -> Result<(), KernelError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(pin_error("remove", directory)(error)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), KernelError> {
    fs::rename(from, to).map_err(pin_error("rename", from))
}

impl Enforcement {
    /// What is pinned on this host, or none. What another process left half-done is finished or taken away first, so only
    /// one process at a time may do this.
    ///
    /// # Errors
    ///
    /// [`KernelError`]; what enforces goes on.
    pub fn adopt(pins: &Path) -> Result<Option<Self>, KernelError> {
        let (new, old) = (beside(pins, "_new"), beside(pins, "_old"));
        if !pins.exists() && new.exists() {
            // Either the first policy was put in force and its process died before the rename, or two renames were to
            // follow each other. Without a policy in it, it is a load that did not get that far.
            match Self::open(&new)? {
                Some(found) if found.generation()? > 0 => rename(&new, pins)?,
                _ => remove(&new)?,
            }
        }
        if pins.exists() {
            remove(&new)?;
            remove(&old)?;
        } else if old.exists() {
            rename(&old, pins)?;
        }
        Self::open(pins)
    }

    /// What is pinned on this host, or none: for those who only look. Nothing is finished or taken away, since another
    /// process may be at it.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if it cannot be told.
    pub fn look(pins: &Path) -> Result<Option<Self>, KernelError> {
        if let Some(found) = Self::open(pins)? {
            return Ok(Some(found));
        }
        if let Some(found) = Self::open(&beside(pins, "_new"))?
            && found.generation()? > 0
        {
            return Ok(Some(found));
        }
        Self::open(&beside(pins, "_old"))
    }

    fn open(pins: &Path) -> Result<Option<Self>, KernelError> {
        let maps = pins.join("maps");
        if !maps.join(name::META).exists() {
            return Ok(None);
        }
        let pinned = |name: &'static str| {
            MapHandle::from_pinned_path(maps.join(name)).map_err(|source| failed("open", name, source))
        };
        let meta = pinned(name::META)?.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let meta = meta.map_err(|source| failed("read", name::META, source))?.unwrap_or_default();
        let backend = match u32_at(&meta, 4) {
            value if value == Backend::ControlGroup as u32 => Backend::ControlGroup,
            _ => Backend::BpfLsm,
        };
        // Programs of another layout may lack some; they are looked at until others take their place.
        let there = name::ALL.into_iter().filter(|name| maps.join(name).exists());
        let maps = there.map(|name| Ok((name, pinned(name)?))).collect::<Result<Vec<_>, KernelError>>()?;
        Ok(Some(Self { maps, links: Vec::new(), pins: Some(pins.to_path_buf()), backend }))
    }

    /// Whether what is pinned is what this build would load.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if it cannot be told.
    pub fn is_of_this_build(&self) -> Result<bool, KernelError> {
        let Some(pins) = &self.pins else { return Ok(true) };
        if self.maps.len() < name::ALL.len() {
            return Ok(false);
        }
        let meta = MapHandle::from_pinned_path(pins.join("maps").join(name::META));
        let meta = meta.map_err(|source| failed("open", name::META, source))?;
        let value = meta.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let value = value.map_err(|source| failed("read", name::META, source))?.unwrap_or_default();
        Ok(u32_at(&value, 0) == LAYOUT && value.get(8..40) == Some(&object_digest()))
    }

    /// Puts what [`Self::load`] pinned in its place. What was there before enforces until then, so both do for a moment.
    ///
    /// # Errors
    ///
    /// [`KernelError::Pin`]; the next [`Self::adopt`] finishes it.
    pub fn settle(&self) -> Result<(), KernelError> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let (new, old) = (beside(pins, "_new"), beside(pins, "_old"));
        if pins.exists() {
            remove(&old)?;
            rename(pins, &old)?;
        }
        rename(&new, pins)?;
        remove(&old)
    }

    /// Whether these maps are those that are pinned now: another process may have replaced them.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if it cannot be told.
    pub fn is_pinned(&self) -> Result<bool, KernelError> {
        let Some(pins) = &self.pins else { return Ok(true) };
        let Ok(pinned) = MapHandle::from_pinned_path(pins.join("maps").join(name::CONTROL)) else {
            return Ok(false);
        };
        let id = |map: &MapHandle| {
            map.info().map(|info| info.info.id).map_err(|source| failed("look at", name::CONTROL, source))
        };
        Ok(id(&pinned)? == id(self.map(name::CONTROL)?)?)
    }

    /// The programs that are on their hooks.
    ///
    /// # Errors
    ///
    /// [`KernelError::Pin`] if they cannot be listed.
    pub fn attached(&self) -> Result<Vec<String>, KernelError> {
        let Some(pins) = &self.pins else { return Ok(Vec::new()) };
        let links = pins.join("links");
        let entries = fs::read_dir(&links).map_err(pin_error("list", &links))?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Takes every program off its hook. From then on nothing is denied.
    ///
    /// # Errors
    ///
    /// [`KernelError::Pin`]; what could not be removed goes on.
    pub fn remove(self) -> Result<(), KernelError> {
        let Self { pins, links, maps, backend: _ } = self;
        drop((links, maps));
        let Some(pins) = pins else { return Ok(()) };
        for directory in [beside(&pins, "_new"), pins.clone(), beside(&pins, "_old")] {
            remove(&directory)?;
        }
        Ok(())
    }
}
