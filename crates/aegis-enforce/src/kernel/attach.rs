//! The object, loaded and put on its hooks.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{Link, MapCore as _, MapHandle, ObjectBuilder, OpenObject, PrintLevel};
use serde::Serialize;

use super::{Enforcement, Options, fill, name, pins};
use crate::error::KernelError;
use crate::resolve::HostResolver;

/// The programs, as clang made them.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/aegis.bpf.o"));
/// So much of what the library says is kept for an error.
const MAX_LOG: usize = 2000;

/// Where the programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The hooks of BPF-LSM: files, programs, network, and the rest.
    BpfLsm,
    /// A control group: the network alone.
    ControlGroup,
}

impl Backend {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::BpfLsm => "bpf-lsm",
            Self::ControlGroup => "cgroup",
        }
    }
}

/// What the library said last. It prints by a function without a context, for the whole process.
static LOG: Mutex<String> = Mutex::new(String::new());

#[expect(clippy::needless_pass_by_value, reason = "the library calls it so")]
fn keep(_: PrintLevel, text: String) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.push_str(&text);
    if log.len() > MAX_LOG {
        let mut cut = log.len() - MAX_LOG;
        while !log.is_char_boundary(cut) {
            cut += 1;
        }
        log.drain(..cut);
    }
}

fn last_words() -> Option<String> {
    let log = std::mem::take(&mut *LOG.lock().unwrap_or_else(PoisonError::into_inner));
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("; ");
    (!tail.is_empty()).then_some(tail)
}

/// SHA-256 over the programs: what is pinned by another build is replaced.
pub(super) fn object_digest() -> [u8; 32] {
    *aegis_crypto::sha256(OBJECT).as_bytes()
}

impl Enforcement {
    /// Loads the programs and puts them on their hooks. They let everything pass until the first [`Self::swap`]. With
    /// pins, these are made beside those of a host that has some; [`Self::settle`] puts them in their place.
    ///
    /// # Errors
    ///
    /// [`KernelError`]; then nothing is left attached.
    pub fn load(options: &Options) -> Result<Self, KernelError> {
        libbpf_rs::set_print(Some((PrintLevel::Warn, keep)));
        let backend = match (options.lsm, &options.group) {
            (true, _) => Backend::BpfLsm,
            (false, Some(_)) => Backend::ControlGroup,
            (false, None) => return Err(KernelError::NoBackend),
        };
        let mut open = open().map_err(|source| KernelError::Load { log: last_words(), source })?;
        choose(&mut open, backend);
        set_scope(&mut open, options.scope.as_deref())?;
        let templates = set_templates(&mut open)?;
        let object = open.load().map_err(|source| KernelError::Load { log: last_words(), source })?;
        drop(templates);
        let mut maps = Vec::new();
        for name in name::ALL {
            let inside = name::in_object(name);
            let map = object.maps().find(|map| map.name() == inside).ok_or(KernelError::NoMap { name })?;
            let handle = MapHandle::try_from(&map);
            maps.push((name, handle.map_err(|source| failed("open", name, source))?));
        }
        let mut enforcement = Self { maps, links: Vec::new(), pins: options.pins.clone(), backend };
        enforcement.own(&options.programs, &options.directories)?;
        let group = options.group.as_deref().map(open_group).transpose()?;
        let mut links = Vec::new();
        for program in object.progs_mut().filter(|program| program.autoload()) {
            let link = match &group {
                Some(group) if backend == Backend::ControlGroup => program.attach_cgroup(group.as_raw_fd()),
                _ => program.attach_lsm(),
            };
            let program = program.name().to_string_lossy().into_owned();
            links.push((program.clone(), link.map_err(|source| KernelError::Attach { program, source })?));
        }
        match &options.pins {
            Some(at) => pins::pin(at, &mut enforcement, links)?,
            None => enforcement.links = links.into_iter().map(|(_, link): (String, Link)| link).collect(),
        }
        Ok(enforcement)
    }
}

fn open() -> Result<OpenObject, libbpf_rs::Error> {
    ObjectBuilder::default().name("aegis_bpf")?.open_memory(OBJECT)
}

/// Whether the kernel takes the programs of a backend, found out by loading them and letting them go.
///
/// # Errors
///
/// [`KernelError::Load`] with what the kernel says.
pub fn try_load(backend: Backend) -> Result<(), KernelError> {
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep)));
    let refused = |source| KernelError::Load { log: last_words(), source };
    let mut object = open().map_err(refused)?;
    choose(&mut object, backend);
    let templates = set_templates(&mut object)?;
    let loaded = object.load().map_err(refused)?;
    drop(templates);
    if backend == Backend::BpfLsm {
        // Loading is not all: without BPF in the list of security modules, nothing is ever called.
        let program = loaded.progs_mut().find(|program| program.name() == "aegis_sb_umount");
        if let Some(program) = program {
            let program_name = program.name().to_string_lossy().into_owned();
            let attached = program.attach_lsm();
            drop(attached.map_err(|source| KernelError::Attach { program: program_name, source })?);
        }
    }
    Ok(())
}

/// Leaves out the programs, and the maps of those alone, that the backend does not use.
fn choose(object: &mut OpenObject, backend: Backend) {
    for mut program in object.progs_mut() {
        let of_lsm = program.section().to_string_lossy().starts_with("lsm");
        program.set_autoload(of_lsm == (backend == Backend::BpfLsm));
    }
    if backend == Backend::ControlGroup {
        for mut map in object.maps_mut() {
            if ["aegis_taint", "aegis_taints", "aegis_measured"].iter().any(|name| map.name() == *name) {
                let _ = map.set_autocreate(false);
            }
        }
    }
}

/// Gives each map with slots an inner map of our own making to measure others by. Those that the library makes from the
/// object have type information, and kernels of 6.1 take a map with and one without for different.
fn set_templates(object: &mut OpenObject) -> Result<Vec<MapHandle>, KernelError> {
    let mut templates = Vec::new();
    for mut map in object.maps_mut() {
        let Some(name) = name::SLOTTED.into_iter().find(|name| map.name() == *name) else { continue };
        let template = fill::template(name)?;
        map.set_inner_map_fd(template.as_fd()).map_err(|source| failed("prepare", name, source))?;
        templates.push(template);
    }
    Ok(templates)
}

/// `struct settings`: the group, its level, and the layout that the programs have already.
fn set_scope(object: &mut OpenObject, scope: Option<&Path>) -> Result<(), KernelError> {
    let Some(directory) = scope else { return Ok(()) };
    let group = HostResolver::new()
        .group_at(directory)
        .ok_or_else(|| KernelError::NoGroup { path: directory.to_path_buf() })?;
    let no_map = KernelError::NoMap { name: ".rodata" };
    let mut map =
        object.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata")).ok_or(no_map)?;
    let mut value = map.initial_value_mut().ok_or(KernelError::NoMap { name: ".rodata" })?;
    let written =
        value.write_all(&group.id.to_ne_bytes()).and_then(|()| value.write_all(&group.level.to_ne_bytes()));
    written.map_err(|_| KernelError::NoMap { name: ".rodata" })
}

fn open_group(path: &Path) -> Result<File, KernelError> {
    let directory = File::open(path).ok().filter(|_| HostResolver::new().group_at(path).is_some());
    directory.ok_or_else(|| KernelError::NoGroup { path: path.to_path_buf() })
}

pub(super) fn failed(action: &'static str, name: &str, source: libbpf_rs::Error) -> KernelError {
    KernelError::Map { action, name: name.to_owned(), source }
}
