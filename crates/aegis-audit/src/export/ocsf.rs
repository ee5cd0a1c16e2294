//! Open Cybersecurity Schema Framework, version 1.3.0.
//!
//! | action | class |
//! |---|---|
//! | what was refused as a rollback or for its signature | 2004 Detection Finding |
//! | `keys.add`, `keys.remove`, `keys.revoke`, `keys.rotate`, `audit.hand_over`, `kek.*`, `dek.*` | 3004 Entity Management |
//! | `custodian.*`, `custodians.*`, `emergency.rotate` | 3004 Entity Management |
//! | `policy.*`, `enforcement.*`, `host.recovery` | 5019 Device Config State Change |
//! | `keys.drill`, `backup.*`, `keyring.*`, `approval.*`, `audit.read` | 6003 API Activity |
//!
//! What has no attribute in a class stands under `unmapped`.

use serde_json::{Map, Value, json};

use crate::event::{Action, Entry, Outcome};

use super::text::{is_detection, program, sentence};

/// The version of the schema.
const VERSION: &str = "1.3.0";

/// A class, and which of its activities an entry is.
struct Class {
    category: (u64, &'static str),
    uid: u64,
    name: &'static str,
    activity: (u64, &'static str),
}

const LOGGED: (u64, &str) = (1, "Log");

fn class(entry: &Entry) -> Class {
    if is_detection(entry) {
        return Class {
            category: (2, "Findings"),
            uid: 2004,
            name: "Detection Finding",
            activity: (1, "Create"),
        };
    }
    match entry.action {
        Action::KeyAdd | Action::KekEnrol | Action::CustodianRegister => entity((6, "Enroll")),
        Action::KeyRemove => entity((7, "Unenroll")),
        Action::KeyRevoke | Action::CustodianRevoke => entity((9, "Disable")),
        Action::AuditHandOver
        | Action::KekRotate
        | Action::DekRotate
        | Action::KeyRotate
        | Action::CustodiansSet
        | Action::CustodianReplace
        | Action::CustodianRoles
        | Action::EmergencyRotate => entity((3, "Update")),
        Action::KekProvision | Action::DekCreate | Action::CustodiansInit => entity((1, "Create")),
        Action::KekLoad => entity((2, "Read")),
        Action::KekRetire | Action::DekRetire | Action::CustodiansOff => entity((11, "Deactivate")),
        Action::DekDestroy => entity((4, "Delete")),
        Action::PolicyApply
        | Action::PolicyRollback
        | Action::PolicyConfirm
        | Action::PolicyFallback
        | Action::CounterRepair
        | Action::EnforcementOff
        | Action::EnforcementOn
        | Action::Recovery => Class {
            category: (5, "Discovery"),
            uid: 5019,
            name: "Device Config State Change",
            activity: LOGGED,
        },
        Action::KeyDrill => api((99, "Drill")),
        Action::BackupCreate | Action::KeyringBackup | Action::ApprovalRequest => api((1, "Create")),
        Action::BackupRestore
        | Action::KeyringRestore
        | Action::ApprovalSign
        | Action::ApprovalReject
        | Action::ApprovalDecide
        | Action::ApprovalUse => api((3, "Update")),
        Action::AuditRead => api((2, "Read")),
    }
}

fn entity(activity: (u64, &'static str)) -> Class {
    let category = (3, "Identity & Access Management");
    Class { category, uid: 3004, name: "Entity Management", activity }
}

fn api(activity: (u64, &'static str)) -> Class {
    Class { category: (6, "Application Activity"), uid: 6003, name: "API Activity", activity }
}

pub(super) fn line(entry: &Entry, host: &str) -> Vec<u8> {
    let class = class(entry);
    let (severity_id, severity) = severity(entry);
    let (status_id, status) = status(entry);
    let mut event = json!({
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
        "status_id": status_id,
        "status": status,
        "time": entry.time.as_millisecond(),
        "message": sentence(entry),
        "metadata": metadata(entry, class.uid),
        "unmapped": {
            "object": entry.object,
            "outcome": entry.outcome.as_str(),
            "detail": entry.detail,
        },
    });
    if let Some(members) = event.as_object_mut() {
        if let Some(reason) = &entry.reason {
            members.insert("status_detail".to_owned(), json!(reason));
        }
        members.extend(of_class(entry, class.uid, host));
    }
    crate::line::json(&event)
}

/// The attributes that only some classes have.
fn of_class(entry: &Entry, class_uid: u64, host: &str) -> Map<String, Value> {
    let attributes = match class_uid {
        2004 => json!({
            "actor": actor(entry),
            "device": device(host),
            "finding_info": {
                "title": finding_title(entry),
                "uid": format!("{host}/{}", entry.seq),
                "desc": sentence(entry),
                "created_time": entry.time.as_millisecond(),
            },
            "resources": [{ "name": entry.object, "type": offered(entry.action) }],
        }),
        3004 => json!({ "actor": actor(entry), "device": device(host), "entity": key(entry) }),
        5019 => json!({ "actor": actor(entry), "device": device(host) }),
        _ => json!({
            "actor": actor(entry),
            "api": { "operation": entry.action.as_str(), "service": { "name": program(entry) } },
            "src_endpoint": endpoint(host),
            "resources": [{ "name": entry.object }],
        }),
    };
    match attributes {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn metadata(entry: &Entry, class_uid: u64) -> Value {
    let mut metadata = json!({
        "version": VERSION,
        "product": { "name": "Aegis", "vendor_name": "Aegis", "version": env!("CARGO_PKG_VERSION") },
        "log_name": "audit",
        "log_provider": program(entry),
        "event_code": entry.action.as_str(),
        "sequence": entry.seq,
        "original_time": crate::stamp::print(entry.time),
    });
    if let Some(members) = metadata.as_object_mut() {
        // In these classes actor and device come with the profile.
        if matches!(class_uid, 2004 | 3004) {
            members.insert("profiles".to_owned(), json!(["host"]));
        }
        if let Some(id) = &entry.transaction {
            members.insert("correlation_uid".to_owned(), json!(id));
        }
    }
    metadata
}

fn actor(entry: &Entry) -> Value {
    let mut user = json!({ "uid": entry.actor.uid.to_string() });
    if let (Some(members), Some(name)) = (user.as_object_mut(), &entry.actor.user) {
        members.insert("name".to_owned(), json!(name));
    }
    json!({ "user": user, "process": { "name": entry.actor.program, "pid": entry.actor.pid } })
}

/// A server, 1, or anything else, 0: the program does not know.
fn device(host: &str) -> Value {
    let mut device = endpoint(host);
    if let Some(members) = device.as_object_mut() {
        members.insert("type_id".to_owned(), json!(0));
    }
    device
}

fn endpoint(host: &str) -> Value {
    if host.is_empty() {
        return json!({ "name": "unknown" });
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

/// The key that was added, removed, revoked, handed over to, made, loaded, rotated, retired or destroyed.
fn key(entry: &Entry) -> Value {
    let id = ["key_id", "new_key_id"].into_iter().find_map(|field| entry.detail_str(field));
    let name = entry.detail_str("name").unwrap_or(&entry.object);
    json!({ "name": name, "uid": id.unwrap_or(&entry.object), "type": key_type(entry.action) })
}

/// What kind of key an entity is.
fn key_type(action: Action) -> &'static str {
    match action {
        Action::KekProvision | Action::KekEnrol | Action::KekLoad | Action::KekRotate | Action::KekRetire => {
            "Key-encryption key"
        }
        Action::DekCreate | Action::DekRotate | Action::DekRetire | Action::DekDestroy => {
            "Data-encryption key"
        }
        Action::CustodianRegister
        | Action::CustodianRevoke
        | Action::CustodianReplace
        | Action::CustodianRoles
        | Action::EmergencyRotate => "Custodian's public key",
        Action::CustodiansInit | Action::CustodiansSet | Action::CustodiansOff => "Custodians of a host",
        Action::KeyAdd
        | Action::KeyRemove
        | Action::KeyRevoke
        | Action::AuditHandOver
        | Action::PolicyApply
        | Action::PolicyRollback
        | Action::PolicyConfirm
        | Action::PolicyFallback
        | Action::CounterRepair
        | Action::EnforcementOff
        | Action::EnforcementOn
        | Action::KeyDrill
        | Action::BackupCreate
        | Action::BackupRestore
        | Action::AuditRead
        | Action::Recovery
        | Action::KeyringBackup
        | Action::KeyringRestore
        | Action::KeyRotate
        | Action::ApprovalRequest
        | Action::ApprovalSign
        | Action::ApprovalReject
        | Action::ApprovalDecide
        | Action::ApprovalUse => "Ed25519 public key",
    }
}

fn finding_title(entry: &Entry) -> String {
    let offered = offered(entry.action);
    match entry.detail_str("refusal") {
        Some("rollback") => format!("An older {offered} was offered"),
        _ if offered.starts_with('a') => format!("An {offered} without a valid signature was offered"),
        _ => format!("A {offered} without a valid signature was offered"),
    }
}

/// What kind of thing an action is about.
fn offered(action: Action) -> &'static str {
    match action {
        Action::PolicyApply
        | Action::PolicyRollback
        | Action::PolicyConfirm
        | Action::PolicyFallback
        | Action::CounterRepair
        | Action::Recovery => "policy",
        // Refused for its signature is the approval that came with it.
        Action::EnforcementOff | Action::EnforcementOn => "approval",
        Action::KeyAdd
        | Action::KeyRemove
        | Action::KeyRevoke
        | Action::KeyDrill
        | Action::AuditHandOver
        | Action::KekProvision
        | Action::KekEnrol
        | Action::KekLoad
        | Action::KekRotate
        | Action::KekRetire
        | Action::DekCreate
        | Action::DekRotate
        | Action::DekRetire
        | Action::DekDestroy
        | Action::KeyRotate
        | Action::CustodianRegister
        | Action::CustodianRevoke
        | Action::CustodianReplace
        | Action::CustodianRoles
        | Action::EmergencyRotate => "key",
        Action::CustodiansInit | Action::CustodiansSet | Action::CustodiansOff => "list of custodians",
        Action::ApprovalRequest
        | Action::ApprovalSign
        | Action::ApprovalReject
        | Action::ApprovalDecide
        | Action::ApprovalUse => "approval",
        Action::BackupCreate | Action::BackupRestore | Action::KeyringBackup | Action::KeyringRestore => {
            "backup"
        }
        Action::AuditRead => "log",
    }
}

fn severity(entry: &Entry) -> (u64, &'static str) {
    match (entry.outcome, entry.action) {
        _ if is_detection(entry) => (4, "High"),
        (Outcome::Refused | Outcome::Failed, _) => (3, "Medium"),
        // What was denied no longer is, or not by the policy that somebody meant.
        (Outcome::Accepted, Action::EnforcementOff | Action::PolicyFallback) => (3, "Medium"),
        (
            Outcome::Accepted,
            Action::PolicyRollback
            | Action::CounterRepair
            | Action::KeyRevoke
            | Action::BackupRestore
            | Action::AuditHandOver
            | Action::Recovery
            | Action::KekRotate
            | Action::KekRetire
            | Action::DekRetire
            | Action::DekDestroy
            | Action::KeyringRestore
            | Action::KeyRotate
            | Action::CustodiansSet
            | Action::CustodiansOff
            | Action::CustodianRevoke
            | Action::CustodianReplace
            | Action::CustodianRoles
            | Action::ApprovalUse
            | Action::EmergencyRotate
            | Action::EnforcementOn,
        ) => (2, "Low"),
        (
            Outcome::Accepted,
            Action::PolicyApply
            | Action::PolicyConfirm
            | Action::KeyAdd
            | Action::KeyRemove
            | Action::KeyDrill
            | Action::BackupCreate
            | Action::AuditRead
            | Action::KekProvision
            | Action::KekEnrol
            | Action::KekLoad
            | Action::DekCreate
            | Action::DekRotate
            | Action::KeyringBackup
            | Action::CustodiansInit
            | Action::CustodianRegister
            | Action::ApprovalRequest
            | Action::ApprovalSign
            | Action::ApprovalReject
            | Action::ApprovalDecide,
        ) => (1, "Informational"),
    }
}

fn status(entry: &Entry) -> (u64, &'static str) {
    match entry.outcome {
        _ if is_detection(entry) => (1, "New"),
        Outcome::Accepted => (1, "Success"),
        Outcome::Refused | Outcome::Failed => (2, "Failure"),
    }
}
