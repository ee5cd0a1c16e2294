//! JSON (RFC 8259) as bytes: accepted or refused as a strict parser would, and never taken apart.
//!
//! | section | where |
//! |---|---|
//! | 2, structure; 4, objects; 5, arrays; 3, literals | `scan` |
//! | 6, numbers; 7, strings; 8.1, UTF-8 | `token` |
//! | all of it between values, where earlier events had the same bytes there | `course` |
//!
//! Three things are left open by the RFC, or by parsers in general, and decided here for a filter that copies:
//! numbers have no range (`1e400` is copied as it stands), names may repeat, and an escaped surrogate without its
//! partner (`"\ud800"`) is accepted, because section 7 allows it and the bytes pass through unchanged.

mod course;
mod fault;
mod scan;
mod token;

pub(crate) use course::Courses;
pub use fault::{ScanError, ScanFault};
pub(crate) use scan::{Frame, Interest, Shape, Watch, check_value, scan};
pub(crate) use token::{find_quote, skip_string, skip_white_space, unescape};
