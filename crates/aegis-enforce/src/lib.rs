//! What was signed is what the kernel enforces.
//!
//! A policy is compiled into maps of its own, which are filled, compared with what was meant, and made current by one
//! write. The programs that ask them are pinned, so enforcement outlives the process that began it.
//!
//! | module | what it does |
//! |---|---|
//! | `layout` | keys and values of the maps, as `bpf/layout.h` has them |
//! | `resolve` | what a path or a control group is on this host |
//! | `compile` | a policy as the contents of maps |
//! | `kernel` | loads, attaches, pins, adopts, swaps |
//! | `canary` | something that is always denied, to show that denials come |
//! | `host` | the enforcer of a host, for the apply transaction |
//! | `probe` | what this kernel has |
//! | `coverage` | which sections it can enforce, by which backend, and why not |
//! | `survival` | what a policy may not take from a host |
//! | `reader` | takes events out of the kernel |
//! | `agent` | writes events down, and keeps what is enforced in step with the host |
//! | `trial` | a policy for one command, in a control group of its own |
//! | `event` | what was denied, or would have been: records, JSON, OCSF |
//! | `fanotify` | files and programs where there is no BPF-LSM |
//! | `handover` | how a policy reaches the agent there |
//! | `answerer` | the agent's threads that answer there |

mod agent;
mod answerer;
mod canary;
mod compile;
pub mod coverage;
mod error;
pub mod event;
pub mod fanotify;
mod handover;
mod host;
mod kernel;
mod layout;
pub mod probe;
mod reader;
mod resolve;
pub mod survival;
mod trial;

pub use self::agent::{Agent, AgentError, Notice};
pub use self::answerer::{Answerer, AnswererError, Decisions, lock_agent};
pub use self::canary::{Sign, Signs, make as make_canary, signs as canary_signs};
pub use self::compile::{Canary, Compiled, Mode, Unresolved, compile};
pub use self::error::KernelError;
pub use self::handover::{HandoverError, Held};
pub use self::host::{HostEnforcer, Terms, agent_answers};
pub use self::kernel::{Backend, Counters, Enforcement, InForce, Label, Options, PINS, Swapped, try_load};
pub use self::layout::FileId;
pub use self::reader::EventReader;
pub use self::resolve::{Found, GroupId, HostResolver, Resolver, group_mount};
pub use self::trial::{TrialError, Tried, try_command, whole_host};
