//! Open Cybersecurity Schema Framework, version 1.3.0, as the audit log writes it.
//!
//! | operation | class | activity |
//! |---|---|---|
//! | `open`; `create`; `truncate`; `map`, `receive` | 1001 File System Activity | Open; Create; Update; Other |
//! | `module` | 1002 Kernel Extension Activity | Load |
//! | `bpf` | 1003 Kernel Activity | Invoke |
//! | `exec`; `ptrace` | 1007 Process Activity | Launch; Open |
//! | `connect`; `send`; `listen`; `bind` | 4001 Network Activity | Open; Traffic; Listen; Other |
//! | `tamper` | 1001, or 1003 for what is no file | Other |
//! | events that were lost | 0 Base Event | Other |
//!
//! The profiles are `host` and `security_control`: the action is Denied or Allowed, the disposition Blocked or Logged.
//! The rule stands as `firewall_rule`, the only rule that the profile has. What has no attribute in a class stands under
//! `unmapped`.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Event, FileRef, Lost, Operation, Outcome, Process, RuleRef, Transport, stamp};

/// The version of the schema.
const VERSION: &str = "1.3.0";
/// Where the schema wants a name and there is none.
const UNKNOWN: &str = "unknown";

/// A class, and which of its activities an event is.
struct Class {
    category: (u64, &'static str),
    uid: u64,
    name: &'static str,
    activity: (u64, &'static str),
}

fn class(event: &Event) -> Class {
    let other = |name| (99, name);
    match event.operation {
        Operation::Open => file_system((14, "Open")),
        Operation::Create => file_system((1, "Create")),
        Operation::Truncate => file_system((3, "Update")),
        Operation::Map => file_system(other("Map")),
        Operation::Receive => file_system(other("Receive")),
        Operation::Tamper if event.file.is_some() => file_system(other("Tamper")),
        Operation::Tamper => system(1003, "Kernel Activity", other("Tamper")),
        Operation::Module => system(1002, "Kernel Extension Activity", (1, "Load")),
        Operation::Bpf => system(1003, "Kernel Activity", (4, "Invoke")),
        Operation::Exec => system(1007, "Process Activity", (1, "Launch")),
        Operation::Ptrace => system(1007, "Process Activity", (3, "Open")),
        Operation::Connect => network((1, "Open")),
        Operation::Send => network((6, "Traffic")),
        Operation::Listen => network((7, "Listen")),
        Operation::Bind => network(other("Bind")),
    }
}

fn file_system(activity: (u64, &'static str)) -> Class {
    system(1001, "File System Activity", activity)
}

fn system(uid: u64, name: &'static str, activity: (u64, &'static str)) -> Class {
    Class { category: (1, "System Activity"), uid, name, activity }
}

fn network(activity: (u64, &'static str)) -> Class {
    Class { category: (4, "Network Activity"), uid: 4001, name: "Network Activity", activity }
}

/// An event on one line, without its newline. `host` is the host's name: at most 255 printable ASCII characters of it
/// are used.
pub fn line(event: &Event, host: &str) -> String {
    value(event, host).to_string()
}

/// An event as a value.
pub fn value(event: &Event, host: &str) -> Value {
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let class = class(event);
    let denied = event.outcome == Outcome::Denied;
    let (severity_id, severity) = match (event.operation, denied) {
        (Operation::Tamper, _) => (4, "High"),
        (_, true) => (3, "Medium"),
        (_, false) => (2, "Low"),
    };
    let mut value = json!({
        "activity_id": class.activity.0,
        "activity_name": class.activity.1,
        "category_uid": class.category.0,
        "category_name": class.category.1,
        "class_uid": class.uid,
        "class_name": class.name,
        "type_uid": class.uid * 100 + class.activity.0,
        "type_name": format!("{}: {}", class.name, class.activity.1),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": if denied { 2 } else { 1 },
        "status": if denied { "Failure" } else { "Success" },
        "action_id": if denied { 2 } else { 1 },
        "action": if denied { "Denied" } else { "Allowed" },
        "disposition_id": if denied { 2 } else { 17 },
        "disposition": if denied { "Blocked" } else { "Logged" },
        "time": event.time.as_millisecond(),
        "message": event.to_string(),
        "metadata": metadata(event.operation.as_str(), event.time),
        "device": device(&host),
        "actor": actor(event),
        "firewall_rule": rule(&event.rule),
        "unmapped": unmapped(event),
    });
    insert_into(&mut value, "metadata", "profiles", json!(["host", "security_control"]));
    if let Some(members) = value.as_object_mut() {
        members.extend(of_class(event, class.uid, &host));
    }
    value
}

/// Events that were counted and not recorded: the receiver's log must not have a gap unsaid.
pub fn lost(lost: &Lost, host: &str) -> Value {
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let Lost { time, lost } = lost;
    json!({
        "activity_id": 99,
        "activity_name": "Lost",
        "category_uid": 0,
        "category_name": "Uncategorized",
        "class_uid": 0,
        "class_name": "Base Event",
        "type_uid": 99,
        "type_name": "Base Event: Lost",
        "severity_id": 3,
        "severity": "Medium",
        "status_id": 99,
        "status": "Lost",
        "time": time.as_millisecond(),
        "message": format!("{lost} events were lost"),
        "metadata": metadata("lost", *time),
        // The count of the schema has 32 bits.
        "unmapped": { "lost": lost, "device": device(&host) },
    })
}

fn metadata(code: &str, time: Timestamp) -> Value {
    json!({
        "version": VERSION,
        "product": { "name": "Aegis", "vendor_name": "Aegis", "version": env!("CARGO_PKG_VERSION") },
        "log_name": "events",
        "log_provider": "aegisbpf",
        "event_code": code,
        "original_time": stamp::print(time),
    })
}

/// The attributes that only some classes have.
fn of_class(event: &Event, class: u64, host: &str) -> Map<String, Value> {
    let members = match class {
        1001 => json!({ "file": file(event.file.as_ref()) }),
        // The kernel asks before it has looked at the module's name.
        1002 => json!({ "driver": { "file": file(event.file.as_ref()) } }),
        1003 if event.operation == Operation::Bpf => {
            json!({ "kernel": { "name": "bpf", "type_id": 2, "type": "System Call", "system_call": "bpf" } })
        }
        1003 => json!({ "kernel": { "name": "aegisbpf", "type_id": 99, "type": "Other" } }),
        1007 => json!({ "process": target(event) }),
        _ => endpoints(event, host),
    };
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn file(file: Option<&FileRef>) -> Value {
    let absent = FileRef::default();
    let FileRef { path, path_errno: _, device, inode, sha256 } = file.unwrap_or(&absent);
    let name = path.as_deref().and_then(|path| path.rsplit('/').find(|name| !name.is_empty()));
    let mut members = Map::new();
    members.insert("name".to_owned(), json!(name.unwrap_or(UNKNOWN)));
    members.insert("type_id".to_owned(), json!(0));
    if let Some(path) = path {
        members.insert("path".to_owned(), json!(path));
    }
    if let (Some(device), Some(inode)) = (device, inode) {
        members.insert("uid".to_owned(), json!(format!("{device}:{inode}")));
    }
    if let Some(sha256) = sha256 {
        let hash = json!({ "algorithm_id": 3, "algorithm": "SHA-256", "value": sha256.to_string() });
        members.insert("hashes".to_owned(), json!([hash]));
    }
    Value::Object(members)
}

/// The process that was to run the program, or to be traced.
fn target(event: &Event) -> Value {
    match event.target_pid {
        Some(pid) => json!({ "pid": pid }),
        None => json!({ "pid": event.process.pid, "file": file(event.file.as_ref()) }),
    }
}

fn actor(event: &Event) -> Value {
    let Process { pid, tid, uid, gid: _, comm, exe } = &event.process;
    let mut process = json!({ "pid": pid, "tid": tid, "name": comm, "user": { "uid": uid.to_string() } });
    // From the first process down: each holds its own parent.
    let parents = event.parents.iter().rev().fold(None, |parent: Option<Value>, next| {
        let mut process = json!({ "pid": next.pid, "name": next.comm });
        insert(&mut process, "parent_process", parent);
        Some(process)
    });
    insert(&mut process, "parent_process", parents);
    let program = exe.as_ref().map(|program| {
        file(Some(&FileRef {
            path: program.path.clone(),
            device: Some(program.device),
            inode: Some(program.inode),
            ..FileRef::default()
        }))
    });
    insert(&mut process, "file", program);
    json!({ "process": process, "user": { "uid": uid.to_string() } })
}

fn insert_into(value: &mut Value, object: &str, name: &str, member: Value) {
    if let Some(object) = value.get_mut(object) {
        insert(object, name, Some(member));
    }
}

fn insert(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(members), Some(value)) = (object.as_object_mut(), value) {
        members.insert(name.to_owned(), value);
    }
}

fn endpoints(event: &Event, host: &str) -> Value {
    let Some(network) = &event.network else { return json!({ "dst_endpoint": endpoint(host) }) };
    let inbound = matches!(event.operation, Operation::Bind | Operation::Listen);
    // Who binds or listens is the one that others will connect to.
    let mut destination = if inbound { endpoint(host) } else { json!({}) };
    insert(&mut destination, "ip", network.address.map(|address| json!(address)));
    insert(&mut destination, "port", Some(json!(network.port)));
    if !inbound && network.address.is_none() {
        insert(&mut destination, "name", Some(json!(UNKNOWN)));
    }
    let mut connection = json!({
        "direction_id": if inbound { 1 } else { 2 },
        "direction": if inbound { "Inbound" } else { "Outbound" },
    });
    let (number, name) = match network.protocol {
        Transport::Tcp => (Some(6), Some("tcp")),
        Transport::Udp => (Some(17), Some("udp")),
        Transport::Other => (None, None),
    };
    insert(&mut connection, "protocol_num", number.map(Value::from));
    insert(&mut connection, "protocol_name", name.map(Value::from));
    let version = network.address.map(|address| match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    });
    insert(&mut connection, "protocol_ver_id", version.map(Value::from));
    json!({ "dst_endpoint": destination, "connection_info": connection })
}

fn rule(rule: &RuleRef) -> Value {
    let RuleRef { section, line, entry } = rule;
    let mut value = json!({ "name": section.as_str() });
    insert(&mut value, "uid", line.map(|line| json!(format!("line {line}"))));
    insert(&mut value, "condition", entry.as_deref().map(Value::from));
    value
}

/// What the classes have no place for.
fn unmapped(event: &Event) -> Value {
    json!({
        "operation": event.operation,
        "outcome": event.outcome,
        "gid": event.process.gid,
        "rule": event.rule,
        "policy": event.policy,
        "cgroup": event.cgroup,
        "path_errno": event.file.as_ref().and_then(|file| file.path_errno),
        "transport": event.network.map(|network| network.protocol),
        "bpf_command": event.bpf_command,
    })
}

/// A server, 1, or anything else, 0: the program does not know.
fn device(host: &str) -> Value {
    let mut device = endpoint(host);
    insert(&mut device, "type_id", Some(json!(0)));
    device
}

fn endpoint(host: &str) -> Value {
    if host.is_empty() {
        return json!({ "name": UNKNOWN });
    }
    if host.split('.').all(is_label) {
        return json!({ "name": host, "hostname": host });
    }
    json!({ "name": host })
}

/// A label of a host name, as the schema's `hostname_t` has it.
fn is_label(label: &str) -> bool {
    label.starts_with(|c: char| c.is_ascii_alphanumeric())
        && label.ends_with(|c: char| c.is_ascii_alphanumeric())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

#[cfg(test)]
mod tests;
