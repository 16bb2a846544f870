//!

use super::Context;
use super::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) async fn run(_arguments: Arguments, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::CouldNot("not there yet".to_owned()))
}
