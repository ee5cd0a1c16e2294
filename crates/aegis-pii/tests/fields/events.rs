//! Events to test with: any JSON, from any bytes, and events such as a governance pipeline sends.

use std::fmt::Write;

/// Makes JSON out of bytes that somebody else chose at random; fewer bytes, smaller JSON.
pub(crate) struct Dice<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

const NAMES: &[&str] = &[
    "actor_id",
    "author_id",
    "decision_rationale",
    "actor_assignments",
    "requested_by",
    "signer_id",
    "combined_hash",
    "actor\\u005fid",
    "\\u0061ctor_id",
    "actor_i",
    "actor_idd",
    "Actor_id",
    "",
    "a",
    "b/c",
    "d~e",
    "_encrypted",
    "_aegis",
    "_ciphertext",
    "_dek_version",
    "_algorithm",
    "\\ud800",
    "\u{e9}",
    "users",
    "0",
];
const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "0.10",
    "1e400",
    "1E+5",
    "-1.5e-7",
    "123456789012345678901234567890",
    "\"\"",
    "\"alice\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\\\\\\"\\/\\b\\f\\n\\r\\t\"",
    "\"\u{65e5}\u{672c}\"",
    "\"a longer string that has more than thirty-two bytes in it, and then some\"",
];
const SPACES: &[&str] = &["", "", "", " ", "\n", "\t", "\r\n", "  "];

impl<'a> Dice<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    pub(crate) fn json(&mut self) -> String {
        let mut text = String::new();
        self.space(&mut text);
        self.value(&mut text, 0);
        self.space(&mut text);
        text
    }

    pub(crate) fn roll(&mut self) -> usize {
        self.bytes.next().copied().unwrap_or(0).into()
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.roll() % from.len()]
    }

    fn space(&mut self, text: &mut String) {
        text.push_str(self.pick(SPACES));
    }

    fn value(&mut self, text: &mut String, depth: usize) {
        match self.roll() % 4 {
            2 if depth < 8 => self.list(text, depth, '[', ']'),
            3 if depth < 8 => self.list(text, depth, '{', '}'),
            _ => text.push_str(self.pick(SCALARS)),
        }
    }

    fn list(&mut self, text: &mut String, depth: usize, open: char, close: char) {
        text.push(open);
        self.space(text);
        for number in 0..self.roll() % 5 {
            if number > 0 {
                text.push(',');
                self.space(text);
            }
            if open == '{' {
                let name = self.pick(NAMES);
                write!(text, "\"{name}\"").unwrap();
                self.space(text);
                text.push(':');
                self.space(text);
            }
            self.value(text, depth + 1);
            self.space(text);
        }
        text.push(close);
    }
}

/// An event as a governance pipeline sends it, with all twelve fields, and the values in them.
pub(crate) fn governance_event(number: u64) -> (String, Vec<String>) {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let person = format!("person-{:08x}@example.org", next() as u32);
    let lead = format!("lead-{:08x}", next() as u32);
    let workflow = format!("wf-{:016x}", next());
    let (risk, security) = (format!("{:016x}{:016x}", next(), next()), format!("{:016x}", next()));
    let hash = format!("{:016x}{:016x}", next(), next());
    let rationale = format!("risk accepted until {:04x}, \\\"temporarily\\\"", next() as u16);
    let score = next() % 1000;
    let text = format!(
        concat!(
            "{{\"event_id\":\"evt-{number}\",\"timestamp\":\"2026-03-0{day}T12:00:00.{score:03}Z\",\"service\":\"gate\",",
            "\"workflow_id\":\"{workflow}\",\"actor_id\":\"{person}\", \"score\": 0.{score}, \"attempt\":1e2,",
            "\"author_id\":\"{person}\",\"decision_actor\":\"{lead}\",\"tags\":[\"a\",\"b\",null,true],",
            "\"decision_rationale\":\"{rationale}\",\"override_justification\":\"{rationale} ({score})\",",
            "\"proposal\":{{\"id\":{number},\"requested_by\":\"{person}\",\"gates\":[{{\"name\":\"risk\",\"ok\":false,",
            "\"signer_id\":\"{lead}\"}},{{\"name\":\"cost\",\"ok\":true,\"signer_id\":\"{person}\"}}]}},",
            "\"actor_assignments\":{{\"owner\":\"{person}\",\"leads\":[\"{lead}\",{{\"actor_id\":\"{lead}\"}}]}},",
            "\"risk_lead_signature\":\"{risk}\",\"security_lead_signature\":\"{security}\",",
            "\"combined_hash\":\"{hash}\",\"region\":\"eu-central-1\",\"latency_ms\":{score}}}",
        ),
        number = number,
        day = 1 + number % 9,
        score = score,
        workflow = workflow,
        person = person,
        lead = lead,
        rationale = rationale,
        risk = risk,
        security = security,
        hash = hash,
    );
    (text, vec![person, lead, workflow, rationale, risk, security, hash])
}
