//! The files that a host cannot do without, as they are on it.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aegis_crypto::{Digest, Sha256};
use aegis_durable::read_bounded;
use aegis_policy::Cgroup;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Serialize;

use super::Host;
use super::elf::{self, Needs};
use crate::layout::FileId;
use crate::probe::Probe;
use crate::resolve::{HostResolver, Resolver as _};

/// At most so many files are looked at; a host has some forty.
const MAX_FILES: usize = 512;
/// At most so many shells of root are taken from `/etc/passwd`.
const MAX_SHELLS: usize = 16;
/// The most that is read of `/etc/passwd`, and of what a process has mapped.
const MAX_TEXT: u64 = 16 << 20;
/// No program is larger; what is, is not read to its end.
const MAX_PROGRAM: u64 = 4 << 30;
/// Libraries that libraries need: so deep.
const MAX_DEPTH: u32 = 8;

/// What a file is to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The first process, and what it starts others by.
    Init,
    /// The program that applies the next policy.
    Agent,
    /// A shell of root.
    Shell,
    /// What lets root in at the console.
    Login,
    /// What starts a program that has libraries.
    Loader,
    /// A library of one of them.
    Library,
    /// A file that they read.
    File,
}

impl Role {
    /// True for what is run under its own name.
    pub const fn is_program(self) -> bool {
        matches!(self, Self::Init | Self::Agent | Self::Shell | Self::Login)
    }

    /// True for what is run or mapped.
    pub const fn is_code(self) -> bool {
        self.is_program() || matches!(self, Self::Loader | Self::Library)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "the program that starts the host",
            Self::Agent => "the agent itself",
            Self::Shell => "a shell of root",
            Self::Login => "a program that lets root in at the console",
            Self::Loader => "the loader of such a program",
            Self::Library => "a library of such a program",
            Self::File => "a file that such a program needs",
        })
    }
}

/// A file that a host cannot do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VitalFile {
    /// What for.
    pub role: Role,
    /// Where it is looked for.
    pub path: PathBuf,
    /// The file names by which it is run: of that path, and of the file that it leads to.
    pub names: Vec<String>,
    /// The file, as `stat(2)` tells.
    pub id: FileId,
    /// The same as the kernel's hooks see it, by which a rule may name it: on some file systems another number.
    pub hook_id: FileId,
}

/// Programs and files, where distributions have them.
const PLACES: &[(Role, &[&str])] = &[
    (Role::Init, &["/sbin/init", "/usr/lib/systemd/systemd-executor", "/lib/systemd/systemd-executor"]),
    (Role::Shell, &["/bin/sh"]),
    (
        Role::Login,
        &[
            "/sbin/agetty",
            "/usr/sbin/agetty",
            "/usr/bin/agetty",
            "/bin/login",
            "/usr/bin/login",
            "/sbin/sulogin",
            "/usr/sbin/sulogin",
            "/usr/bin/sulogin",
            "/usr/lib/systemd/systemd-sulogin-shell",
            "/lib/systemd/systemd-sulogin-shell",
        ],
    ),
    (Role::File, &["/etc/passwd", "/dev/console", "/dev/null"]),
];

/// Where libraries are looked for after what a program says itself.
const LIBRARIES: &[&str] = &["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// Control groups in which systemd puts a console, from the root down.
const CONSOLE_GROUPS: &[&str] = &[
    "",
    "init.scope",
    "system.slice",
    "system.slice/console-getty.service",
    "system.slice/system-getty.slice",
    "system.slice/system-serial\\x2dgetty.slice",
    "system.slice/emergency.service",
    "system.slice/rescue.service",
    "user.slice",
    "user.slice/user-0.slice",
];

/// A host that is a tree of files: this one, or one that a test made.
#[derive(Debug)]
pub struct LiveHost {
    root: PathBuf,
    groups: Option<PathBuf>,
    /// Of this host alone: its kernel can be asked.
    resolver: Option<HostResolver>,
}

impl LiveHost {
    /// This host.
    pub fn new() -> Self {
        Self { resolver: Some(HostResolver::new()), ..Self::below(Path::new("/")) }
    }

    /// The host whose files are below `root`. Its links lead nowhere else.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), groups: Probe::read(root).cgroup2, resolver: None }
    }

    /// Opens a file of this host's, links followed as on it.
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let root = File::open(&self.root)?;
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
    }

    /// The same for reading. A FIFO does not wait for its writer, and a terminal does not become ours.
    fn open_to_read(&self, path: &Path) -> io::Result<File> {
        self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map(File::from)
    }

    fn id(&self, path: &Path) -> Option<FileId> {
        let stat = rustix::fs::fstat(self.open(path, OFlags::PATH).ok()?).ok()?;
        Some(FileId::of_stat(stat.st_dev, stat.st_ino))
    }

    /// The names by which a program is run.
    fn names(&self, path: &Path, file: &OwnedFd) -> Vec<String> {
        use std::os::fd::AsRawFd;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let mut names: Vec<String> =
            [name(path), real.as_deref().and_then(name)].into_iter().flatten().collect();
        names.dedup();
        names
    }

    fn text(&self, path: &str) -> String {
        let bytes = read_bounded(&self.root.join(path), MAX_TEXT).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The shells of those who are root; an empty field is `/bin/sh` (`passwd(5)`).
    fn root_shells(&self) -> Vec<PathBuf> {
        let passwd = self.text("etc/passwd");
        let shell = |line: &str| {
            let mut fields = line.split(':');
            let is_root = fields.nth(2)? == "0";
            let shell = fields.nth(3)?.trim();
            is_root.then(|| PathBuf::from(if shell.is_empty() { "/bin/sh" } else { shell }))
        };
        passwd.lines().filter_map(shell).take(MAX_SHELLS).collect()
    }

    /// The files that a process has mapped as code (`proc_pid_maps(5)`).
    fn mapped(&self, process: &str) -> Vec<PathBuf> {
        let path = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let is_code = fields.nth(1)?.contains('x');
            let path = line.split_once('/').map(|(_, path)| format!("/{path}"))?;
            is_code.then(|| PathBuf::from(path))
        };
        self.text(&format!("proc/{process}/maps")).lines().filter_map(path).collect()
    }
}

impl Default for LiveHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for LiveHost {
    fn vital(&self) -> Vec<VitalFile> {
        let mut list = List { host: self, files: Vec::new(), seen: HashSet::new(), directories: Vec::new() };
        let mapped: Vec<PathBuf> = ["1", "self"].iter().flat_map(|process| self.mapped(process)).collect();
        for path in &mapped {
            let directory = path.parent().map(Path::to_owned);
            list.directories.extend(directory.filter(|directory| !list.directories.contains(directory)));
        }
        list.directories.truncate(MAX_SHELLS);
        list.directories.extend(LIBRARIES.iter().map(PathBuf::from));
        for (process, role) in [("1", Role::Init), ("self", Role::Agent)] {
            if let Ok(program) = std::fs::read_link(self.root.join(format!("proc/{process}/exe"))) {
                list.add(role, &program);
            }
        }
        for (role, paths) in PLACES {
            paths.iter().for_each(|path| list.add(*role, Path::new(path)));
        }
        self.root_shells().iter().for_each(|shell| list.add(Role::Shell, shell));
        mapped.iter().for_each(|path| list.add(Role::Library, path));
        list.files
    }

    fn file(&self, path: &str) -> Option<FileId> {
        if self.resolver.is_none() {
            return self.id(Path::new(path));
        }
        // One call instead of five: a policy may have a million paths.
        let stat = rustix::fs::stat(path).ok()?;
        Some(FileId::of_stat(stat.st_dev, stat.st_ino))
    }

    fn group(&self, group: &Cgroup<'_>) -> Option<u64> {
        match group {
            Cgroup::Id(id) => Some(*id),
            Cgroup::Path(path) => {
                let mount = self.groups.as_deref()?;
                let path = Path::new(path.as_ref());
                let below = path.strip_prefix(mount).or_else(|_| path.strip_prefix("/sys/fs/cgroup"));
                let below = below.or_else(|_| path.strip_prefix("/")).ok()?;
                Some(self.id(&mount.join(below))?.inode)
            }
        }
    }

    fn console_groups(&self) -> Vec<u64> {
        let Some(mount) = &self.groups else { return Vec::new() };
        CONSOLE_GROUPS.iter().filter_map(|group| Some(self.id(&mount.join(group))?.inode)).collect()
    }

    fn sha256(&self, file: &VitalFile) -> io::Result<Digest> {
        let mut open = self.open_to_read(&file.path)?;
        aegis_durable::check_regular(&open.metadata()?, &file.path).map_err(io::Error::other)?;
        let (mut sha256, mut buffer, mut left) = (Sha256::new(), vec![0; 64 << 10], MAX_PROGRAM);
        loop {
            let read = match open.read(&mut buffer) {
                Ok(0) => return Ok(sha256.finish()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            sha256.update(buffer.get(..read).unwrap_or_default());
            left =
                left.checked_sub(read as u64).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        }
    }
}

/// The list while it grows.
struct List<'a> {
    host: &'a LiveHost,
    files: Vec<VitalFile>,
    seen: HashSet<(FileId, PathBuf)>,
    /// Where libraries are looked for.
    directories: Vec<PathBuf>,
}

impl List<'_> {
    /// Puts in what is at a path, if anything is, and what that needs to run.
    fn add(&mut self, role: Role, path: &Path) {
        self.add_at(role, path, 0);
    }

    fn add_at(&mut self, role: Role, path: &Path, depth: u32) -> bool {
        let Ok(file) = self.host.open(path, OFlags::PATH) else { return false };
        let Ok(stat) = rustix::fs::fstat(&file) else { return false };
        let id = FileId::of_stat(stat.st_dev, stat.st_ino);
        // A file is there once for each of the names it is run by, and a library once.
        let key = if role.is_program() { path.to_owned() } else { PathBuf::new() };
        let known = self.files.iter().any(|file| file.id == id);
        if self.files.len() >= MAX_FILES || (known && !role.is_program()) || !self.seen.insert((id, key)) {
            return true;
        }
        let names = self.host.names(path, &file);
        let asked = self.host.resolver.as_ref().and_then(|resolver| resolver.file(path.to_str()?));
        self.files.push(VitalFile { role, path: path.to_owned(), names, id, hook_id: asked.unwrap_or(id) });
        if role.is_code() && !known && depth < MAX_DEPTH {
            self.add_needs(path, depth + 1);
        }
        true
    }

    fn add_needs(&mut self, path: &Path, depth: u32) {
        let Ok(file) = self.host.open_to_read(path) else { return };
        // A device or a FIFO is not read.
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return;
        }
        let Some(Needs { interpreter, libraries, run_path }) =
            elf::needs(&|bytes, at| file.read_at(bytes, at))
        else {
            return;
        };
        if let Some(interpreter) = interpreter {
            self.add_at(Role::Loader, Path::new(&interpreter), depth);
        }
        let origin = path.parent().unwrap_or(Path::new("/")).display().to_string();
        let own = run_path.iter().flat_map(|path| path.split(':'));
        let mut directories: Vec<PathBuf> = own
            .filter(|directory| !directory.is_empty())
            .map(|directory| PathBuf::from(directory.replace("$ORIGIN", &origin)))
            .collect();
        directories.extend(self.directories.iter().cloned());
        for library in libraries {
            let mut places = directories.iter().map(|directory| directory.join(&library));
            places.find(|place| place.is_absolute() && self.add_at(Role::Library, place, depth));
        }
    }
}
