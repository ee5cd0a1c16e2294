//! Two people, one decision: every way in which one of them alone could try to decide, through the commands.

mod attacks;
mod desk;
mod story;
