//! What becomes of each kind of rule, on a host that is made up.

use aegis_policy::Limits;
use proptest::prelude::*;

use super::*;
use crate::resolve::{Found, GroupId};

/// A host of some files and control groups.
#[derive(Default)]
struct MadeUp {
    files: HashMap<String, FileId>,
    /// Symbolic links, and what they say.
    links: HashMap<String, String>,
    groups: HashMap<String, GroupId>,
}

impl MadeUp {
    fn of(files: &[&str]) -> Self {
        let number = |index: usize| FileId { inode: 100 + index as u64, device: 7 };
        let files = files.iter().enumerate().map(|(index, path)| ((*path).to_owned(), number(index)));
        Self { files: files.collect(), ..Self::default() }
    }

    fn with_link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.to_owned(), target.to_owned());
        self
    }

    /// A directory that is by another name, too, as by a bind mount.
    fn with_bound(mut self, path: &str, other: &str) -> Self {
        self.files.insert(path.to_owned(), self.files[other]);
        self
    }

    /// The path without links; none if they go round in a circle.
    fn canonical(&self, path: &str) -> Option<String> {
        let (mut at, mut followed) = (String::new(), 0);
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        while let Some(name) = left.pop() {
            match name.as_str() {
                "" | "." => {}
                ".." => at.truncate(at.rfind('/').unwrap_or(0)),
                name => {
                    let next = format!("{at}/{name}");
                    match self.links.get(&next) {
                        Some(target) => {
                            followed += 1;
                            if followed > 40 {
                                return None;
                            }
                            left.extend(target.split('/').rev().map(str::to_owned));
                            if target.starts_with('/') {
                                at.clear();
                            }
                        }
                        None => at = next,
                    }
                }
            }
        }
        Some(if at.is_empty() { "/".to_owned() } else { at })
    }

    fn with_group(mut self, path: &str, id: u64, level: u32) -> Self {
        self.groups.insert(path.to_owned(), GroupId { id, level });
        self
    }

    fn file_of(&self, path: &str) -> FileId {
        self.files[path]
    }
}

impl Resolver for MadeUp {
    fn file(&self, path: &str) -> Option<FileId> {
        self.files.get(&self.canonical(path)?).copied()
    }

    fn look(&self, path: &str) -> Found {
        let (above, name) = path.rsplit_once('/').unwrap_or_default();
        let Some(above) = self.canonical(above) else { return Found::Nothing };
        let path = format!("{}/{name}", above.trim_end_matches('/'));
        match (self.links.get(&path), self.files.get(&path)) {
            (Some(target), _) => Found::Link(Some(target.clone())),
            (None, Some(file)) => Found::File(*file),
            (None, None) => Found::Nothing,
        }
    }

    fn group(&self, group: &Cgroup<'_>) -> Option<GroupId> {
        self.groups.get(&group.to_string()).copied()
    }
}

fn compiled(text: &str, host: &MadeUp) -> Compiled {
    let policy = aegis_policy::parse(text.as_bytes(), &Limits::default()).unwrap();
    compile(&policy, host, Mode::Enforce, &Canary { file: None })
}

fn rule_for(compiled: &Compiled, file: FileId, group: u32) -> Option<Rule> {
    compiled.tables.files.get(&file_key(file, group)).map(|bytes| Rule::from_bytes(*bytes))
}

fn net_rule(
    compiled: &Compiled,
    address: Option<&str>,
    port: u16,
    group: u32,
    kind: NetKind,
) -> Option<Rule> {
    let address = address.map(|address| address.parse().unwrap());
    compiled
        .tables
        .net
        .get(&layout::net_key(address, port, group, kind))
        .map(|bytes| Rule::from_bytes(*bytes))
}

#[test]
fn a_path_is_its_file_and_its_name_in_a_tree_down_from_the_root() {
    let host = MadeUp::of(&["/", "/etc", "/etc/shadow"]);
    let compiled = compiled("version=1\n[deny_path]\n/etc/shadow\n/etc/new/key\n", &host);
    let rule = rule_for(&compiled, host.file_of("/etc/shadow"), 0).unwrap();
    assert_eq!((rule.line, rule.section, rule.flags), (3, Section::DenyPath as u8, 0));
    // "/" and "/etc" are there; "/etc/new" is a node without a directory so far.
    assert!(rule_for(&compiled, host.file_of("/"), GROUP_DIRECTORY).is_some());
    assert!(rule_for(&compiled, host.file_of("/etc"), GROUP_DIRECTORY).is_some());
    assert_eq!(compiled.tables.files.len(), 3);
    // etc, shadow, new, key
    assert_eq!(compiled.tables.names.len(), 4);
    let missing = &compiled.unresolved()[0];
    assert_eq!((missing.line, missing.watched, compiled.unresolved_count()), (4, true, 1));
}

/// Looks for a path as the programs do, from the root down: the number of its directory, and the rule of its name.
fn named(compiled: &Compiled, host: &MadeUp, path: &str) -> Option<Rule> {
    let mark = |at: &str| rule_for(compiled, *host.files.get(at)?, GROUP_DIRECTORY).map(|rule| rule.line);
    let (mut node, mut at) = (mark("/")?, String::new());
    let (directory, name) = path.rsplit_once('/').unwrap();
    let find = |node, name: &str| compiled.tables.names.get(&layout::name_key(node, name.as_bytes()));
    for name in directory.split('/').skip(1) {
        at = format!("{at}/{name}");
        let by_name = find(node, name).map_or(0, |rule| layout::u32_at(rule, 8));
        node = mark(&at).unwrap_or(by_name);
    }
    let rule = find(node, name).filter(|rule| layout::u32_at(*rule, 12) != 0)?;
    Some(Rule::from_bytes(std::array::from_fn(|index| rule[index])))
}

/// What a name of the tree leads to; 0 if it is none.
fn node_of(compiled: &Compiled, host: &MadeUp, path: &str) -> u32 {
    let (directory, name) = path.rsplit_once('/').unwrap();
    let directory = if directory.is_empty() { "/" } else { directory };
    let above = rule_for(compiled, host.file_of(directory), GROUP_DIRECTORY).unwrap().line;
    let rule = compiled.tables.names.get(&layout::name_key(above, name.as_bytes()));
    rule.map_or(0, |rule| layout::u32_at(rule, 8))
}

/// As `/bin` is a link to `/usr/bin`, with names of either that do not exist yet.
#[test]
fn a_directory_by_two_paths_is_one() {
    let link = MadeUp::of(&["/", "/usr", "/usr/bin"]).with_link("/bin", "usr/bin");
    let bound = MadeUp::of(&["/", "/usr", "/usr/bin"]).with_bound("/bin", "/usr/bin");
    for (host, bin) in [(&link, "/usr/bin"), (&bound, "/bin")] {
        for text in [
            "/bin/x\n/usr/bin/y\n/bin/new/a\n/usr/bin/new/b\n",
            "/usr/bin/new/b\n/bin/new/a\n/usr/bin/y\n/bin/x\n",
        ] {
            let compiled = compiled(&format!("version=1\n[deny_path]\n{text}"), host);
            for name in ["x", "y", "new/a", "new/b"] {
                for at in [bin, "/usr/bin"] {
                    assert!(
                        named(&compiled, host, &format!("{at}/{name}")).is_some(),
                        "{at}/{name} of\n{text}"
                    );
                }
            }
            assert_eq!(node_of(&compiled, host, "/bin"), node_of(&compiled, host, "/usr/bin"));
        }
    }
}

/// The names of all links on the way are in the tree, each with the directory that it leads to.
#[test]
fn a_link_on_the_way_is_a_name_of_the_tree() {
    let host = MadeUp::of(&["/", "/opt", "/srv", "/data", "/data/v1", "/data/v1/key"])
        .with_link("/opt/current", "../srv/link2")
        .with_link("/srv/link2", "/data/./v1/");
    let compiled = compiled("version=1\n[deny_path]\n/opt/current/key\n/opt/current/new/key\n", &host);
    let node = rule_for(&compiled, host.file_of("/data/v1"), GROUP_DIRECTORY).unwrap().line;
    for link in ["/opt/current", "/srv/link2", "/data/v1"] {
        assert_eq!(node_of(&compiled, &host, link), node, "{link}");
    }
    for name in ["/data/v1/key", "/data/v1/new/key"] {
        assert!(named(&compiled, &host, name).is_some(), "{name}");
    }
    assert!(rule_for(&compiled, host.file_of("/data/v1/key"), 0).is_some());
    assert_eq!(named(&compiled, &host, "/srv/link2"), None, "a name without a rule");
}

/// Its target does not exist yet, or what is on the way to it.
#[test]
fn a_link_to_what_is_to_come_leads_to_the_names_to_come() {
    for target in ["/data/v1", "/data/v1/deeper/v2"] {
        let host = MadeUp::of(&["/", "/opt", "/data"]).with_link("/opt/current", target);
        let compiled = compiled("version=1\n[deny_path]\n/opt/current/key\n", &host);
        assert!(named(&compiled, &host, &format!("{target}/key")).is_some(), "{target}");
    }
}

/// Whoever opens the link opens what is by the name that it leads to, also when that is another file later.
#[test]
fn a_denied_link_denies_the_names_that_it_leads_to() {
    let host = MadeUp::of(&["/", "/etc", "/usr", "/usr/lib", "/usr/lib/release"])
        .with_link("/etc/release", "../usr/lib/link")
        .with_link("/usr/lib/link", "release");
    let compiled = compiled("version=1\n[deny_path]\n/etc/release\n", &host);
    for name in ["/etc/release", "/usr/lib/link", "/usr/lib/release"] {
        assert!(named(&compiled, &host, name).is_some(), "{name}");
    }
    assert!(rule_for(&compiled, host.file_of("/usr/lib/release"), 0).is_some());
}

/// Neither by its number nor by its name, and a link to it is watched.
#[test]
fn what_is_spared_is_not_denied_by_a_link_that_leads_there() {
    let host = MadeUp::of(&["/", "/opt", "/lib", "/lib/libc", "/lib/other"])
        .with_link("/opt/current", "/lib")
        .with_link("/opt/file", "current/libc");
    let policy = b"version=1\n[deny_path]\n/opt/current/libc\n/opt/file\n/opt/current/other\n";
    let policy = aegis_policy::parse(policy, &Limits::default()).unwrap();
    let spared = HashSet::from([host.file_of("/lib/libc")]);
    let compiled = compile_sparing(&policy, &host, Mode::Enforce, &Canary { file: None }, &spared);
    assert!(rule_for(&compiled, host.file_of("/lib/libc"), 0).is_none());
    assert_eq!(named(&compiled, &host, "/lib/libc"), None);
    assert!(rule_for(&compiled, host.file_of("/lib/other"), 0).is_some());
    assert_ne!(node_of(&compiled, &host, "/opt/current"), 0);
}

#[test]
fn a_switched_link_is_another_resolution_and_a_dotted_path_is_not() {
    let host = |target: &str| MadeUp::of(&["/", "/opt", "/a", "/b"]).with_link("/opt/current", target);
    let of = |target: &str, path: &str| {
        compiled(&format!("version=1\n[deny_path]\n{path}/key\n"), &host(target)).resolution()
    };
    assert_ne!(of("/a", "/opt/current"), of("/b", "/opt/current"));
    assert_eq!(of("/a", "/opt/current"), of("/opt/../a", "/opt/current"));
    let dotted = compiled("version=1\n[deny_path]\n/opt/current/../key\n", &host("/a"));
    assert!(named(&dotted, &host("/a"), "/key").is_some(), "above where the link leads");
}

/// Who may make links on the way does not choose how long it takes, nor how much memory.
#[test]
fn links_that_lead_nowhere_or_too_far_end() {
    let long = format!("/{}/", "x".repeat(200)).repeat(50);
    let hosts = [
        MadeUp::of(&["/"]).with_link("/a", "a"),
        MadeUp::of(&["/"]).with_link("/a", "/b/c").with_link("/b", "/a"),
        MadeUp::of(&["/"]).with_link("/a", "a/a/a/a"),
        MadeUp::of(&["/"]).with_link("/a", &long),
        MadeUp::of(&["/"]).with_link("/a", "/proc/1/root"),
    ];
    for host in hosts {
        let compiled = compiled("version=1\n[deny_path]\n/a/key\n/a\n/a/b/key\n", &host);
        assert!(compiled.tables.names.len() < 5000, "{:?}", host.links);
        assert!(named(&compiled, &host, "/a").is_some(), "{:?}", host.links);
    }
    let mut chain = MadeUp::of(&["/"]);
    for index in 0..300 {
        chain = chain.with_link(&format!("/l{index}"), &format!("l{}", index + 1));
    }
    assert_eq!(compiled("version=1\n[deny_path]\n/l0/key\n", &chain).tables.names.len(), 2);
}

#[test]
fn a_denial_goes_before_a_protection_in_either_order() {
    let host = MadeUp::of(&["/", "/a"]);
    for text in [
        "version=4\n[deny_path]\n/a\n[protect_path]\n/a\n",
        "version=4\n[protect_path]\n/a\n[deny_path]\n/a\n",
    ] {
        let compiled = compiled(text, &host);
        let rule = rule_for(&compiled, host.file_of("/a"), 0).unwrap();
        assert_eq!(rule.section, Section::DenyPath as u8, "{text}");
        let name = compiled.tables.names.values().first().unwrap();
        assert_eq!(name[4], Section::DenyPath as u8, "{text}");
        assert_ne!(compiled.flags & policy_flag::HASHES, 0, "who is verified has to be measured");
    }
}

#[test]
fn an_inode_of_the_policy_itself_outlives_its_file() {
    let host = MadeUp::of(&["/", "/a"]);
    let device = rustix::fs::makedev(0, 7);
    let compiled = compiled(&format!("version=1\n[deny_path]\n/a\n[deny_inode]\n{device}:101\n"), &host);
    let rule = rule_for(&compiled, host.file_of("/a"), 0).unwrap();
    assert_ne!(rule.flags & rule_flag::STATIC, 0);
}

#[test]
fn rules_of_one_port_are_one_entry_for_all_that_they_deny() {
    let text = "version=2\n[deny_port]\n22:tcp:bind\n22:udp:egress\n53\n";
    let compiled = compiled(text, &MadeUp::default());
    let ssh = net_rule(&compiled, None, 22, 0, NetKind::Port).unwrap();
    assert_eq!((ssh.line, ssh.protocols), (3, (protocol::TCP << protocol::BIND) | protocol::UDP));
    let all = protocol::TCP | protocol::UDP | protocol::OTHER;
    let dns = net_rule(&compiled, None, 53, 0, NetKind::Port).unwrap();
    assert_eq!(dns.protocols, all | (all << protocol::BIND));
}

#[test]
fn ipv4_in_ipv6_form_is_ipv4() {
    let text = "version=2\n[deny_ip]\n::ffff:10.1.2.3\n[deny_cidr]\n::ffff:10.0.0.0/104\n[deny_ip_port]\n[::ffff:10.1.2.4]:443:tcp\n";
    let compiled = compiled(text, &MadeUp::default());
    assert!(net_rule(&compiled, Some("10.1.2.3"), 0, 0, NetKind::Address).is_some());
    assert!(net_rule(&compiled, Some("10.1.2.4"), 443, 0, NetKind::Endpoint).is_some());
    let network = layout::cidr_key("10.0.0.0".parse().unwrap(), 8);
    assert!(compiled.tables.cidrs.get(&network).is_some());
}

#[test]
fn a_hash_on_several_lists_is_on_all_of_them_and_cites_its_denial() {
    let hash = "ab".repeat(32);
    let text = format!(
        "version=5\n[allow_binary_hash]\nsha256:{hash}\n[trusted_exec_hash]\nsha256:{hash}\n[deny_binary_hash]\nsha256:{hash}\n"
    );
    let compiled = compiled(&text, &MadeUp::default());
    let rule = Rule::from_bytes(*compiled.tables.hashes.get(&[0xab; 32]).unwrap());
    assert_eq!(rule.flags, rule_flag::LISTED | rule_flag::TRUSTED | rule_flag::DENIED);
    assert_eq!((rule.section, rule.line), (Section::DenyBinaryHash as u8, 7));
    let lists = policy_flag::ONLY_LISTED | policy_flag::ONLY_TRUSTED | policy_flag::DENY_HASHES;
    assert_eq!(compiled.flags & lists, lists);
}

proptest! {
    #[test]
    fn a_hash_is_the_bytes_of_its_digits(hash in any::<[u8; 32]>(), upper in any::<bool>()) {
        let digits: String = hash.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect();
        let compiled = compiled(&format!("version=5\n[deny_binary_hash]\nsha256:{digits}\n"), &MadeUp::default());
        prop_assert!(compiled.tables.hashes.get(&hash).is_some());
    }
}

#[test]
fn a_group_may_be_let_pass_and_have_rules_of_its_own() {
    let host = MadeUp::default().with_group("/a", 900, 1).with_group("/a/b", 901, 2);
    let text = "version=6\n[cgroup_deny_ip]\n/a 10.0.0.1\n/a/b 10.0.0.2\n[allow_cgroup]\n/a\n/none\n";
    let compiled = compiled(text, &host);
    assert_eq!(compiled.group_levels, 0b110);
    let group = compiled.tables.groups.get(&900_u64.to_ne_bytes()).unwrap();
    let (number, allow) = (layout::u32_at(group, 0), layout::u32_at(group, 4));
    assert_eq!((number, allow), (1, 1));
    assert!(net_rule(&compiled, Some("10.0.0.1"), 0, number, NetKind::Address).is_some());
    assert!(net_rule(&compiled, Some("10.0.0.1"), 0, 0, NetKind::Address).is_none(), "nobody else's");
    assert!(!compiled.unresolved()[0].watched, "a group has to be looked for again");
}

#[test]
fn the_resolution_changes_with_the_host_and_not_by_itself() {
    let text = "version=1\n[deny_path]\n/a\n";
    let of = |files: &[&str]| compiled(text, &MadeUp::of(files)).resolution();
    assert_eq!(of(&["/", "/a"]), of(&["/", "/a"]));
    assert_ne!(of(&["/", "/a"]), of(&["/"]));
}

#[test]
fn audit_mode_is_all_that_tells_one_policy_from_its_other() {
    let policy = aegis_policy::parse(b"version=1\n[deny_ptrace]\n", &Limits::default()).unwrap();
    let host = MadeUp::default();
    let of = |mode| compile(&policy, &host, mode, &Canary { file: None }).flags;
    assert_eq!(of(Mode::Enforce) & !of(Mode::Audit), policy_flag::ENFORCE);
    assert_eq!(of(Mode::Audit) & policy_flag::DENY_PTRACE, policy_flag::DENY_PTRACE);
}

/// What the programs let go unasked depends on these.
#[test]
fn a_policy_says_whether_it_names_addresses_and_ports() {
    let of = |text: &str| {
        let flags = compiled(text, &MadeUp::default().with_group("/sys/fs/cgroup/g", 5, 1)).flags;
        (flags & policy_flag::ADDRESSES != 0, flags & policy_flag::PORTS != 0)
    };
    for (text, expected) in [
        ("version=6\n", (false, false)),
        ("version=6\n[deny_ip]\n192.0.2.1\n", (true, false)),
        ("version=6\n[deny_ip_port]\n192.0.2.1:80\n", (true, false)),
        ("version=6\n[deny_port]\n80\n", (false, true)),
        ("version=6\n[cgroup_deny_ip]\n/sys/fs/cgroup/g 192.0.2.1\n", (true, false)),
        ("version=6\n[cgroup_deny_port]\n/sys/fs/cgroup/g 80\n", (false, true)),
    ] {
        assert_eq!(of(text), expected, "{text}");
    }
}

#[test]
fn the_filter_has_files_directories_and_names() {
    let host = MadeUp::of(&["/", "/srv", "/srv/a", "/srv/key"]);
    let names = "/srv/key\n/srv/12345678\n/srv/123456789\n/srv/12345678901234567\n";
    let compiled = compiled(&format!("version=6\n[deny_path]\n{names}"), &host);
    let files = compiled.tables.files.keys().iter().map(layout::file_hash);
    let names = compiled.tables.names.keys().iter().map(layout::name_hash);
    let hashes: Vec<u64> = files.chain(names).collect();
    assert!(hashes.len() > 6, "{hashes:?}");
    for hash in hashes {
        let (word, bits) = layout::filter_place(hash);
        assert_eq!(layout::u64_at(&compiled.filter, 8 * word) & bits, bits);
    }
}

/// Rules wait until there are many.
#[test]
fn rules_for_one_port_are_one_entry_however_many_others_stand_before_them() {
    for others in 1020..1027_u32 {
        let mut text = "version=2\n[deny_ip]\n".to_owned();
        for number in 0..others {
            text.push_str(&format!("{}\n", std::net::Ipv4Addr::from_bits((10 << 24) + number)));
        }
        text.push_str("[deny_port]\n22:tcp:bind\n22:udp:egress\n");
        let compiled = compiled(&text, &MadeUp::default());
        let ssh = net_rule(&compiled, None, 22, 0, NetKind::Port).unwrap();
        let protocols = (protocol::TCP << protocol::BIND) | protocol::UDP;
        assert_eq!((ssh.line, ssh.protocols), (others + 4, protocols));
        // And the canary's.
        assert_eq!(compiled.tables.net.len(), others as usize + 2);
    }
}

proptest! {
    /// A rule whose bits the filter lacks would never be found.
    #[test]
    fn the_filter_has_every_key(addresses in proptest::collection::vec(any::<u32>(), 1..200)) {
        let mut text = "version=2\n[deny_ip]\n".to_owned();
        for address in &addresses {
            text.push_str(&format!("{}\n", std::net::Ipv4Addr::from_bits(*address)));
        }
        let compiled = compiled(&text, &MadeUp::default());
        for key in compiled.tables.net.keys() {
            let hash = layout::net_hash(key);
            let (index, bits) = layout::filter_place(hash);
            prop_assert_eq!(layout::u64_at(&compiled.filter, 8 * index) & bits, bits);
        }
    }
}

proptest! {
    /// Rules wait until there are many, so there are about as many others between these.
    #[test]
    fn of_rules_for_one_file_the_first_denial_counts_or_else_the_first_protection(
        parts in proptest::collection::vec((0_usize..3, proptest::collection::vec(0_usize..5, 0..5)), 1..4),
        between in 1000_usize..1030,
    ) {
        const SECTIONS: [Section; 3] = [Section::DenyPath, Section::ProtectPath, Section::DenyInode];
        // By two ways, by a link to it, and what is not there.
        const PATHS: [&str; 5] = ["/d/a", "/l/a", "/b", "/link", "/gone"];
        const NAMES: [&str; 5] = ["/d/a", "/d/a", "/b", "/link", "/gone"];
        const FILES: [Option<&str>; 5] = [Some("/d/a"), Some("/d/a"), Some("/b"), Some("/b"), None];
        let host = MadeUp::of(&["/", "/d", "/d/a", "/b"]).with_link("/l", "d").with_link("/link", "b");
        let mut text = "version=6\n".to_owned();
        let mut line = 1;
        let (mut by_file, mut by_name) = (HashMap::new(), HashMap::new());
        for (part, (section, indices)) in parts.into_iter().enumerate() {
            let mut add = |entry: &str| {
                text.push_str(&format!("{entry}\n"));
                line += 1;
                line
            };
            let section = SECTIONS[section];
            add(&format!("[{section}]"));
            for (at, index) in indices.into_iter().enumerate() {
                let (path, file) = (PATHS[index], FILES[index].map(|path| host.file_of(path)));
                let line = match (section, file) {
                    (Section::DenyInode, None) => continue,
                    (Section::DenyInode, Some(file)) => add(&format!("{}:{}", rustix::fs::makedev(0, 7), file.inode)),
                    _ => add(path),
                };
                file.iter().for_each(|file| by_file.entry(*file).or_insert_with(Vec::new).push((section, line)));
                if section != Section::DenyInode {
                    by_name.entry(NAMES[index]).or_insert_with(Vec::new).push((section, line));
                    // What a link leads to is denied by its name, too.
                    if path == "/link" {
                        by_name.entry("/b").or_insert_with(Vec::new).push((section, line));
                    }
                    for number in 0..if at == 1 { between } else { 0 } {
                        add(&format!("/others/{part}-{number}"));
                    }
                }
            }
        }
        let counts = |rules: &[(Section, u32)]| {
            let denial = rules.iter().find(|(section, _)| *section != Section::ProtectPath);
            denial.or(rules.first()).map(|(section, line)| (*section as u8, *line))
        };
        let compiled = compiled(&text, &host);
        for path in ["/d/a", "/b"] {
            let rules = by_file.remove(&host.file_of(path)).unwrap_or_default();
            let found = rule_for(&compiled, host.file_of(path), 0);
            prop_assert_eq!(found.map(|rule| (rule.section, rule.line)), counts(&rules), "{} in {}", path, text);
            let meant = rules.iter().any(|(section, _)| *section == Section::DenyInode);
            prop_assert_eq!(found.is_some_and(|rule| rule.flags & rule_flag::STATIC != 0), meant, "{}", path);
        }
        for (path, name) in PATHS.into_iter().zip(NAMES) {
            // A link of which no rule says anything leads nowhere.
            if path == "/l/a" && !text.contains("/l/a\n") {
                continue;
            }
            let rules = by_name.get(name).cloned().unwrap_or_default();
            let found = named(&compiled, &host, path).map(|rule| (rule.section, rule.line));
            prop_assert_eq!(found, counts(&rules), "{} in {}", path, text);
        }
    }
}

/// Else whoever moves a directory away, or switches a link, would open what was denied.
#[test]
fn what_names_do_not_lead_to_any_more_is_kept_and_is_no_other_resolution() {
    let host = |file: &'static str| MadeUp::of(&["/", "/srv", "/srv/key", "/elsewhere", file]);
    let policy = b"version=1\n[deny_path]\n/srv/key\n";
    let policy = aegis_policy::parse(policy, &Limits::default()).unwrap();
    let compiled = |host: &MadeUp| compile(&policy, host, Mode::Enforce, &Canary { file: None });
    let (first, moved) = (host("/elsewhere/key"), MadeUp::of(&["/", "/srv"]));
    let before = compiled(&first);
    let id = FileId { inode: 4242, device: 7 };
    let rule = |flags| Rule { line: 3, section: 0, protocols: 0, flags }.to_bytes();
    let mut held: Vec<_> = before
        .tables
        .files
        .keys()
        .iter()
        .copied()
        .zip(before.tables.files.values().iter().copied())
        .collect();
    let gone = FileId { inode: 4243, device: 7 };
    held.extend([(file_key(id, 0), rule(0)), (file_key(gone, 0), rule(rule_flag::GONE))]);
    held.push((file_key(gone, 1), rule(0)));
    let mut after = compiled(&moved);
    let resolution = after.resolution();
    assert_ne!(resolution, before.resolution());
    assert!(after.keep(&held));
    assert_eq!(after.resolution(), resolution, "an agent compares what names lead to");
    assert!(rule_for(&after, first.file_of("/srv/key"), 0).is_some());
    assert!(rule_for(&after, id, 0).is_some());
    assert!(rule_for(&after, gone, 0).is_none() && rule_for(&after, gone, 1).is_none());
    // The filter has them, or no program would look.
    let (index, bits) = layout::filter_place(layout::file_hash(&file_key(id, 0)));
    let word = after.filter.as_chunks::<8>().0[index];
    assert_eq!(u64::from_ne_bytes(word) & bits, bits);
    let many: Vec<_> =
        (0..=MAX_KEPT as u64).map(|inode| (file_key(FileId { inode, device: 9 }, 0), rule(0))).collect();
    assert!(!compiled(&moved).keep(&many));
}
