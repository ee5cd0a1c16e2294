//! A policy put in force, beside the bare filling of the same maps.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aegis_enforce::{Enforcement, Options, group_mount};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, statx};
use rustix::time::{ClockId, clock_gettime};

use crate::{LABEL, Made, compiled, parsed, policies, this_program};

/// Entries in one call, as the library has it.
const BATCH: usize = 16 * 1024;
/// Rounds of which the middle one counts.
const ROUNDS: usize = 5;
/// Files in a directory, of those that a policy names.
const IN_DIRECTORY: u32 = 1000;

/// What is in a map: its kind, bytes of a key and of a value, and how many.
struct Shape(MapType, usize, usize, u32);

/// All rows, for policies of so many rules.
pub(crate) fn measure(rules: u32) -> Made {
    let lsm = std::env::var_os("AEGIS_VM").is_some();
    if lsm {
        // The machine is this program's own.
        let _ = fs::write("/sys/kernel/rcu_expedited", "1");
    }
    let place = Place::new()?;
    let group = (!lsm).then(|| place.group.clone());
    let enforcement =
        Enforcement::load(&Options { lsm, group, programs: this_program(), ..Options::default() })?;
    let hash = |key, value, rules| Shape(MapType::Hash, key, value, rules);
    one(&enforcement, "ip", &policies::of_addresses(rules), &[hash(24, 8, rules)])?;
    one(&enforcement, "inode", &policies::of_inodes(rules), &[hash(16, 8, rules)])?;
    one(&enforcement, "hash", &policies::of_hashes(rules), &[hash(32, 8, rules)])?;
    let (files, addresses, hashes) = (rules / 3, rules / 3, rules - 2 * (rules / 3));
    let mixed = [hash(16, 8, files), hash(24, 8, addresses), hash(32, 8, hashes)];
    one(&enforcement, "mix", &policies::without_paths(files, addresses, hashes), &mixed)?;
    let networks = Shape(MapType::LpmTrie, 24, 8, rules);
    one(&enforcement, "cidr", &policies::of_networks(rules), &[networks])?;
    let paths = place.files(rules)?;
    one(&enforcement, "path", &policies::of_paths(&paths), &[hash(16, 8, rules), hash(40, 16, rules)])?;
    let looks = (0..ROUNDS).map(|_| look_at(&paths)).collect::<Made<_>>()?;
    println!("path-looks {}", median(looks)?);
    Ok(())
}

/// The part of it that needs no kernel.
pub(crate) fn compile(kind: &str, rules: u32) -> Made {
    let text = match kind {
        "ip" => policies::of_addresses(rules),
        "inode" => policies::of_inodes(rules),
        "hash" => policies::of_hashes(rules),
        "cidr" => policies::of_networks(rules),
        _ => return Err(format!("no policy of {kind}").into()),
    };
    std::hint::black_box(compiled(&parsed(&text)?));
    Ok(())
}

fn one(enforcement: &Enforcement, name: &str, text: &str, shapes: &[Shape]) -> Made {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let bare: Duration = shapes.iter().map(fill).sum::<Made<_>>()?;
        let (parse, policy) = timed(|| parsed(text))?;
        let (compile, made) = timed(|| Ok(compiled(&policy)))?;
        let begun = Instant::now();
        let (swap, _) = timed(|| Ok(enforcement.swap(&made, &LABEL, None)?))?;
        let wall = begun.elapsed();
        rounds.push([bare, parse, compile, swap, wall]);
    }
    for (index, what) in ["bare", "parse", "compile", "swap", "swap-clock"].iter().enumerate() {
        let times = rounds.iter().filter_map(|round| round.get(index)).copied().collect();
        println!("{name}-{what} {}", median(times)?);
    }
    Ok(())
}

/// In nanoseconds.
fn median(mut times: Vec<Duration>) -> Made<u128> {
    times.sort_unstable();
    Ok(times.get(times.len() / 2).ok_or("no round")?.as_nanos())
}

/// Asks which file each path names, from its directory, and does nothing else.
fn look_at(paths: &[String]) -> Made<Duration> {
    let (time, ()) = timed(|| {
        for paths in paths.chunks(IN_DIRECTORY as usize) {
            let (directory, _) = paths.first().and_then(|path| path.rsplit_once('/')).ok_or("no path")?;
            let directory =
                open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            for path in paths {
                let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
                let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
                std::hint::black_box(statx(&directory, name, AtFlags::NO_AUTOMOUNT, wanted)?);
            }
        }
        Ok(())
    })?;
    Ok(time)
}

/// Makes a map and fills it, and does nothing else.
fn fill(Shape(kind, key, value, count): &Shape) -> Made<Duration> {
    let mut keys = vec![0_u8; key * usize::try_from(*count)?];
    for (number, key) in (0_u32..).zip(keys.chunks_exact_mut(*key)) {
        let begin = match kind {
            // Networks of 24 bits, as the policy has them.
            MapType::LpmTrie => [8 + 24, (number << 8) | 4],
            _ => [number, 0],
        };
        let begin = begin.into_iter().flat_map(u32::to_ne_bytes);
        key.iter_mut().zip(begin).for_each(|(to, from)| *to = from);
    }
    let values = vec![1_u8; value * usize::try_from(*count)?];
    let (time, _map) = timed(|| {
        let trie = matches!(kind, MapType::LpmTrie);
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            map_flags: if trie { libbpf_sys::BPF_F_NO_PREALLOC } else { 0 },
            ..Default::default()
        };
        let (key_size, value_size) = (u32::try_from(*key)?, u32::try_from(*value)?);
        let map = MapHandle::create(*kind, Some("bare"), key_size, value_size, *count, &options)?;
        for (keys, values) in keys.chunks(key * BATCH).zip(values.chunks(value * BATCH)) {
            let count = u32::try_from(keys.len() / key)?;
            map.update_batch(keys, values, count, MapFlags::ANY, MapFlags::ANY)?;
        }
        Ok(map)
    })?;
    Ok(time)
}

/// The processor's time that it takes, of all threads of this process.
fn timed<T>(act: impl FnOnce() -> Made<T>) -> Made<(Duration, T)> {
    let begun = processor_time();
    let result = act()?;
    Ok((processor_time().saturating_sub(begun), result))
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// A directory and a control group, gone at the end.
struct Place {
    root: PathBuf,
    group: PathBuf,
}

impl Place {
    fn new() -> Made<Self> {
        let name = format!("aegis-in-kernel-{}", std::process::id());
        let group = group_mount().ok_or("no control groups of version 2 are mounted")?.join(&name);
        let place = Self { root: std::env::temp_dir().join(name), group };
        fs::create_dir_all(&place.root)?;
        fs::create_dir(&place.group)?;
        Ok(place)
    }

    /// So many files.
    fn files(&self, count: u32) -> Made<Vec<String>> {
        let mut paths = Vec::new();
        for number in 0..count {
            let directory = self.root.join(format!("{:03}", number / IN_DIRECTORY));
            if number % IN_DIRECTORY == 0 {
                fs::create_dir(&directory)?;
            }
            let path = directory.join(format!("file-{number:07}"));
            fs::File::create(&path)?;
            paths.push(path.display().to_string());
        }
        Ok(paths)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
        let _ = fs::remove_dir_all(&self.root);
    }
}
