//! An event against the published schema, version 1.3.0: required attributes, types, enumerations, constraints, profiles,
//! and no attribute that a class does not have. The tests of `aegis-enforce` use it too.

use std::sync::LazyLock;

use serde_json::Value;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema-1.3.0.json")).unwrap());

/// What is wrong with an event, by the schema.
pub(crate) fn faults(event: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let uid = &event["class_uid"];
    let Some((name, class)) =
        SCHEMA["classes"].as_object().unwrap().iter().find(|(_, class)| class["uid"] == *uid)
    else {
        return vec![format!("no class {uid}")];
    };
    let profiles: Vec<&str> =
        event["metadata"]["profiles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for profile in &profiles {
        if !class["profiles"].as_array().unwrap().contains(&Value::from(*profile)) {
            faults.push(format!("{name} has no profile {profile}"));
        }
    }
    members(class, event, name, &profiles, &mut faults);
    let type_uid = uid.as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap_or(0);
    if event["type_uid"] != type_uid {
        faults.push(format!("type_uid is {}, not {type_uid}", event["type_uid"]));
    }
    faults
}

fn members(shape: &Value, value: &Value, at: &str, profiles: &[&str], faults: &mut Vec<String>) {
    let Some(found) = value.as_object() else {
        faults.push(format!("{at} is not an object"));
        return;
    };
    let attributes = shape["attributes"].as_object().unwrap();
    let applies =
        |attribute: &Value| attribute["profile"].as_str().is_none_or(|name| profiles.contains(&name));
    for (name, attribute) in attributes.iter().filter(|(_, attribute)| applies(attribute)) {
        if attribute["requirement"] == "required" && !found.contains_key(name) {
            faults.push(format!("{at}.{name} is required"));
        }
    }
    for (kind, count) in [("at_least_one", 1..=usize::MAX), ("just_one", 1..=1)] {
        if let Some(names) = shape["constraints"][kind].as_array() {
            let there = names.iter().filter(|name| found.contains_key(name.as_str().unwrap())).count();
            if !count.contains(&there) {
                faults.push(format!("{at} has {there} of {kind} {names:?}"));
            }
        }
    }
    // The free-form object has no attributes of its own.
    if attributes.is_empty() {
        return;
    }
    for (name, value) in found {
        let at = format!("{at}.{name}");
        match attributes.get(name).filter(|attribute| applies(attribute)) {
            None => faults.push(format!("{at} is not in the schema")),
            Some(attribute) => attribute_value(attribute, value, &at, profiles, faults),
        }
    }
}

fn attribute_value(attribute: &Value, value: &Value, at: &str, profiles: &[&str], faults: &mut Vec<String>) {
    if attribute["is_array"] == true {
        match value.as_array() {
            None => faults.push(format!("{at} is not an array")),
            Some(items) => items.iter().for_each(|item| one_value(attribute, item, at, profiles, faults)),
        }
    } else {
        one_value(attribute, value, at, profiles, faults);
    }
}

fn one_value(attribute: &Value, value: &Value, at: &str, profiles: &[&str], faults: &mut Vec<String>) {
    if let Some(known) = attribute["enum"].as_object()
        && !known.contains_key(value.to_string().trim_matches('"'))
    {
        faults.push(format!("{at} is {value}, not one of {:?}", known.keys()));
    }
    let kind = attribute["type"].as_str().unwrap();
    if kind == "object_t" {
        let object = attribute["object_type"].as_str().unwrap();
        match SCHEMA["objects"].get(object) {
            Some(shape) => members(shape, value, at, profiles, faults),
            None => faults.push(format!("{at}: object {object} is not in the reduced schema")),
        }
        return;
    }
    let own = &SCHEMA["types"][kind];
    let fits = match own["type"].as_str().unwrap_or(kind) {
        "string_t" => value.as_str().is_some_and(|text| text.len() <= 65_535),
        "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
        "boolean_t" => value.is_boolean(),
        "json_t" => true,
        other => panic!("{at}: type {other}"),
    };
    if !fits {
        faults.push(format!("{at} is {value}, not {kind}"));
    }
    if kind == "hostname_t" && !is_hostname(value.as_str().unwrap_or_default()) {
        faults.push(format!("{at} is {value}, not a host name"));
    }
}

/// The regular expression of `hostname_t`, spelled out.
fn is_hostname(text: &str) -> bool {
    text.split('.').all(|label| {
        let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        end(label.chars().next())
            && end(label.chars().last())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}
