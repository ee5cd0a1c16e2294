//! The Python package `aegis_governance`: the crates of Aegis, for Python programs.
//!
//! This is a translation and decides nothing: one call of a crate, its error as an exception. What it adds is what only
//! Python asks for: events that are `dict` or `str`, functions as enrichers and sinks, `logging`, forks.
//!
//! | module | what it holds |
//! |---|---|
//! | `kek_provider` | KEK providers and `get_kek_provider` |
//! | `hybrid_kem`, `bip322` | keys, boxes and signatures for those who use them directly |
//! | `event`, `passage` | events: `dict`, `str`, `bytes`; to JSON text and back, one or a list of them |
//! | `catalogue`, `enricher`, `decryptor` | personal fields: which they are, sealing and opening them |
//! | `inspection`, `tokens` | what is sealed, without a key; search tokens |
//! | `arrow` | columns of data frames, sealed and opened in streams |
//! | `keyring` | a keyring, and the rotation of its DEKs |
//! | `pipeline` | the pipeline; functions of Python as enrichers and sinks |
//! | `pool`, `process` | workers that threads share; what does not survive a fork |
//! | `approval` | overrides that two people sign |
//! | `failure` | errors of the crates as exceptions of `aegis_governance.errors` |
//! | `bytes` | bytes in and out; secret ones in a type that does not show them |
//! | `log` | what the crates log, in Python's `logging` |
//!
//! What never happens here: a lock is waited for while the thread is attached to the interpreter, unless it is held for
//! an assignment only, and by attached threads alone; so neither the log nor a fork can end in a deadlock. A secret is in
//! a `repr`, a pickle or an exception.

mod approval;
mod arrow;
mod bip322;
mod bytes;
mod catalogue;
mod decryptor;
mod enricher;
mod event;
mod failure;
mod hybrid_kem;
mod inspection;
mod kek_provider;
mod keyring;
mod log;
mod passage;
mod pipeline;
mod pool;
mod process;
mod tokens;

use pyo3::prelude::*;

/// The compiled part of `aegis_governance`. Its names are public there, not here.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::approval::{DualChecksObject, DualValidator, OverrideRequest};
    #[pymodule_export]
    use crate::arrow::ArrowStream;
    #[pymodule_export]
    use crate::bip322::Bip322;
    #[pymodule_export]
    use crate::catalogue::CatalogueObject;
    #[pymodule_export]
    use crate::decryptor::PiiDecryptorObject;
    #[pymodule_export]
    use crate::enricher::PiiEnricher;
    #[pymodule_export]
    use crate::hybrid_kem::{HybridKem, key_id};
    #[pymodule_export]
    use crate::inspection::inspect;
    #[pymodule_export]
    use crate::kek_provider::{
        AwsKmsProvider, EnvironmentProvider, FileProvider, HealthReport, HsmProvider, InMemoryProvider,
        KekObject, Provider, get_kek_provider,
    };
    #[pymodule_export]
    use crate::keyring::{KeyringObject, Rotator};
    #[pymodule_export]
    use crate::pipeline::{
        FileSinkObject, HttpSinkObject, NatsSinkObject, OtlpSinkObject, Pipeline, SettledObject, SinkObject,
        StdoutSinkObject,
    };
    #[pymodule_export]
    use crate::tokens::SearchTokensObject;

    use super::{PyModule, PyResult};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::log::begin();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
