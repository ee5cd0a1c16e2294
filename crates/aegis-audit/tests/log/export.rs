//! One entry, one line, in every format, whatever the entry holds.

use aegis_audit::export::{Format, write};
use aegis_audit::{Action, Entry, Event, Outcome, parse_entry};

use crate::sample::{actor, event};

/// The entry that an event becomes.
pub(crate) fn entry_of(event: &Event) -> Entry {
    Entry::of(0, event)
}

pub(crate) fn line(entry: &Entry, format: Format) -> String {
    let mut out = Vec::new();
    write(entry, format, "host.example", &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let line = text.strip_suffix('\n').unwrap().to_owned();
    assert!(!line.contains('\n'), "{format:?}: {line}");
    line
}

fn refused() -> Event {
    Event::new("2026-03-01T12:00:00.250Z".parse().unwrap(), actor(), Action::PolicyApply, "v6.signed")
        .outcome(Outcome::Refused)
        .reason("policy version 6 is older than 7")
        .detail("refusal", "rollback")
        .detail("policy_version", 6)
        .transaction("tx-1")
}

const HOSTILE: &str = "a|b=c\\d]e\"f\ng\rh\u{1b}[0mi\0j\u{9b}k\u{202e}lé";

fn hostile() -> Event {
    let mut event = refused().reason(HOSTILE).detail("key_id", HOSTILE).transaction(HOSTILE);
    event.object = HOSTILE.to_owned();
    event
}

#[test]
fn json_is_the_line_of_the_log() {
    let entry = entry_of(&hostile());
    assert_eq!(parse_entry(line(&entry, Format::Json).as_bytes()).unwrap(), entry);
}

#[test]
fn cef_is_this_line() {
    assert_eq!(
        line(&entry_of(&refused()), Format::Cef).replacen(env!("CARGO_PKG_VERSION"), "VERSION", 1),
        "CEF:0|Aegis|aegisbpf|VERSION|policy.apply|Policy apply refused|8|rt=1772366400250 externalId=0 \
         dvchost=host.example suid=0 suser=alice sproc=aegisbpf spid=4242 act=policy.apply outcome=refused \
         reason=policy version 6 is older than 7 \
         msg=policy.apply of v6.signed refused: policy version 6 is older than 7 \
         cs1Label=object cs1=v6.signed cs2Label=transaction cs2=tx-1 cs4Label=refusal cs4=rollback \
         cs5Label=detail cs5={\"policy_version\":6,\"refusal\":\"rollback\"}"
    );
}

#[test]
fn cef_escapes_what_its_specification_names() {
    let text = line(&entry_of(&hostile()), Format::Cef);
    assert!(
        text.contains(r#" cs1=a|b\=c\\d]e"f\ng\rh\\u001b[0mi\\u0000j\\u009bk\\u202elé cs2Label="#),
        "{text}"
    );
    // Every `=` that is not escaped ends a key, and every key is one of ours.
    let (_, extension) = text.split_once("refused|8|").unwrap();
    let unescaped = extension.replace("\\\\", "").replace("\\=", "");
    for key in unescaped.split('=').rev().skip(1).map(|before| before.rsplit(' ').next().unwrap()) {
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric()), "{key:?} in {text}");
    }
}

#[test]
fn rfc_5424_is_this_line() {
    assert_eq!(
        line(&entry_of(&refused()), Format::Rfc5424),
        "<106>1 2026-03-01T12:00:00.250Z host.example aegisbpf 4242 policy.apply [audit@32473 seq=\"0\" \
         action=\"policy.apply\" outcome=\"refused\" object=\"v6.signed\" uid=\"0\" user=\"alice\" \
         reason=\"policy version 6 is older than 7\" transaction=\"tx-1\" \
         detail=\"{\\\"policy_version\\\":6,\\\"refusal\\\":\\\"rollback\\\"}\"] \
         \u{feff}policy.apply of v6.signed refused: policy version 6 is older than 7"
    );
}

/// Reads structured data as RFC 5424, 6.3, describes it.
fn parameters(line: &str) -> Vec<(String, String)> {
    let mut rest = line.split_once(" [audit@32473").unwrap().1.chars();
    let mut found = Vec::new();
    loop {
        match rest.next().unwrap() {
            ']' => {
                assert_eq!((rest.next(), rest.next()), (Some(' '), Some('\u{feff}')), "{line}");
                return found;
            }
            ' ' => {}
            other => panic!("{other:?} in {line}"),
        }
        let name: String = rest.by_ref().take_while(|c| *c != '=').collect();
        assert!(name.len() <= 32 && name.chars().all(|c| c.is_ascii_graphic() && !"=]\"".contains(c)));
        assert_eq!(rest.next(), Some('"'));
        let mut value = String::new();
        loop {
            match rest.next().unwrap() {
                '"' => break,
                '\\' => {
                    let escaped = rest.next().unwrap();
                    assert!("\"\\]".contains(escaped), "\\{escaped} in {line}");
                    value.push(escaped);
                }
                ']' => panic!("a bare ] in {line}"),
                c => value.push(c),
            }
        }
        found.push((name, value));
    }
}

#[test]
fn rfc_5424_escapes_what_the_standard_names() {
    let text = line(&entry_of(&hostile()), Format::Rfc5424);
    let found = parameters(&text);
    let value = |name: &str| &*found.iter().find(|(found, _)| found == name).unwrap().1;
    let shown = "a|b=c\\d]e\"f\\u000ag\\u000dh\\u001b[0mi\\u0000j\\u009bk\\u202elé";
    assert_eq!((value("object"), value("reason"), value("transaction")), (shown, shown, shown));
    assert!(text.chars().all(|c| !c.is_control()), "{text}");
}

#[test]
fn a_clock_or_host_that_rfc_5424_has_no_place_for_is_nil() {
    let mut entry = entry_of(&refused());
    entry.time = "-000001-01-01T00:00:00Z".parse().unwrap();
    entry.actor.program = "\n \u{7f}é".to_owned();
    let mut out = Vec::new();
    write(&entry, Format::Rfc5424, "\n\u{1b} é", &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().starts_with("<106>1 - - - 4242 policy.apply [audit@32473 "));
}

#[test]
fn every_format_keeps_to_one_line_without_control_characters() {
    let mut huge = hostile();
    huge.object = HOSTILE.repeat(40_000);
    let huge = entry_of(&huge);
    for number in 0..36 {
        for entry in [entry_of(&event(number)), entry_of(&hostile()), huge.clone()] {
            for format in Format::ALL {
                for host in ["host", "", "a\nb|c=d]", &"h".repeat(1 << 20)] {
                    let mut out = Vec::new();
                    write(&entry, format, host, &mut out).unwrap();
                    assert_eq!(out.pop(), Some(b'\n'));
                    let text = String::from_utf8(out).unwrap();
                    assert!(text.len() < 128 * 1024, "{format:?}: {} bytes", text.len());
                    assert!(!text.chars().any(char::is_control), "{format:?}: {text}");
                }
            }
        }
    }
}

#[test]
fn format_names_read_back() {
    for format in Format::ALL {
        assert_eq!(format.as_str().parse::<Format>().unwrap(), format);
    }
    assert_eq!(
        "xml".parse::<Format>().unwrap_err().to_string(),
        "there is no format \"xml\", only json, ocsf, cef, rfc5424"
    );
}
