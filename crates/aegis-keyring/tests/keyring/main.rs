//! What a keyring promises, on a real store in SQLite: made, rotated, killed, resumed, tampered with, backed up.

mod backups;
mod child;
mod dek_life;
mod events;
mod fixture;
mod hooked;
mod hostile_backups;
mod kek_faults;
mod kek_rotation;
mod kills;
mod opening;
mod processes;
mod rotator;
mod secrets;
mod usage;
