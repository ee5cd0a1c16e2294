//! One deployment of the keys: its state directory, its KEK, its keyring and its log.
//!
//! Everything that the control program does is one call here, and is in the log when it returns.
//!
//! | module | what it holds |
//! |---|---|
//! | `state_dir`, `lock` | where things are on this machine; one change at a time |
//! | `deployment` | [`Deployment`], its keyring, what an interrupted command left |
//! | `change_log` | changes of keys in the log, each one once |
//! | `kek_source` | which KEK a command works with |
//! | `init` | setting a machine up |
//! | `provision`, `keks` | making a KEK; what is done to it afterwards |
//! | `deks` | what is done to DEKs |
//! | `backups` | the keyring in one encrypted file |
//! | `approvals` | custodians and requests; what is erased by their approval alone |
//! | `doctor` | what is set, what would be taken, what is not in order |
//! | `active_dek`, `opened_deks` | DEKs for a stream of events: the active one, followed; those to open with |
//! | `pipeline_config`, `configured_pipeline`, `sealing_enricher` | a telemetry pipeline as its TOML file describes it |
//! | `dead_letters` | events that were refused: looked at, opened, sent again |
//! | `event_files` | files of events, compressed or not |
//! | `stream_usage` | what a stream of events still holds under each DEK |
//!
//! What never happens here: a KEK that is lost with the process gets DEKs; a change is made and not logged, unless that is
//! said; a secret is printed, logged or put into an error.

mod active_dek;
mod approvals;
mod backups;
mod change_log;
mod configured_pipeline;
mod dead_letters;
mod deks;
mod deployment;
mod doctor;
mod event_files;
mod init;
mod kek_source;
mod keks;
mod lock;
mod opened_deks;
mod pipeline_config;
mod provision;
mod sealing_enricher;
mod state_dir;
mod stream_usage;

pub use active_dek::{FollowError, FollowedDek, LOOK_INTERVAL, MeteredEncryptor};
pub use approvals::{
    ApprovalsError, CustodianRotated, DeploymentRules, ErasureError, OfferedFile, OpenApprovals,
    RotateCustodian, RotateCustodianError, RulesFault, RulesFileError,
};
pub use backups::{BackupCommandError, ReadBackup};
pub use change_log::{ChangeLog, NoteError, RecoverError};
pub use configured_pipeline::{
    ConfiguredPipeline, OpenPipelineError, OpenSinkError, PipelineCounts, PipelineRun, RunPipelineError,
    SinkCounts, open_sink,
};
pub use dead_letters::{
    Holds, Letter, LetterContent, LetterFile, LetterFileError, LetterFileFault, LetterOpener, LetterOrigin,
    OpenLetterFault, Replay, ReplayCounts, ReplayError, ReplayProgressError, ReplayRun,
};
pub use deks::{ChangeError, Destruction, MakeError};
pub use deployment::{Deployment, KEYRING, KeyringError, KeyringPlace, SetupError};
pub use doctor::{Check, Examination, Status, VariableReport};
pub use event_files::{Compression, EventFiles, EventWriter};
pub use init::{InitError, Initialised};
pub use kek_source::{KekOrigin, ProviderError, Purpose, configured};
pub use keks::{Exchange, KekError, KekOverview, Load, RotateKek, RotatedKek};
pub use lock::{LOCK_WAIT, LockError, StateLock};
pub use opened_deks::{FreshDecryptor, KEPT_FOR, OpenedDeks, OpeningError, missing_dek};
pub use pipeline_config::{
    ConfigFault, DekChoice, PipelineConfig, PipelineConfigError, SinkConfig, SinkKind, SourceConfig,
    SpoolConfig,
};
pub use provision::{Place, ProvisionError, Provisioned, WrappingKey};
pub use sealing_enricher::SealingEnricher;
pub use state_dir::{Presence, STATE_DIR, StateDir, StateDirError};
pub use stream_usage::{MAX_LINE_LEN, MAX_VERSIONS, Occurrences, StreamUsage, StreamUsageError};
