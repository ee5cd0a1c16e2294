//! What becomes of each kind of rule, on a host that is made up.

use aegis_policy::Limits;
use proptest::prelude::*;

use super::*;
use crate::resolve::GroupId;

/// A host of some files and control groups.
#[derive(Default)]
struct MadeUp {
    files: HashMap<String, FileId>,
    groups: HashMap<String, GroupId>,
}

impl MadeUp {
    fn of(files: &[&str]) -> Self {
        let number = |index: usize| FileId { inode: 100 + index as u64, device: 7 };
        let files = files.iter().enumerate().map(|(index, path)| ((*path).to_owned(), number(index)));
        Self { files: files.collect(), groups: HashMap::new() }
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
        self.files.get(path).copied()
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
