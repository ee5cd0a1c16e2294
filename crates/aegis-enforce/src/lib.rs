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
//! | `probe` | what this kernel can enforce, section by section |
//! | `event` | what was denied, or would have been: records, JSON, OCSF |
//! | `fanotify` | files and programs where there is no BPF-LSM |

pub mod event;
pub mod fanotify;
pub mod probe;
