//! `catalogue`: prints every metric.

use anyhow::Result;

use super::{Exit, print};
use crate::catalogue;
use crate::cli::{CatalogueArgs, CatalogueFormat};

pub(super) fn run(args: &CatalogueArgs) -> Result<Exit> {
    let text = match args.format {
        CatalogueFormat::Markdown => catalogue::markdown(),
        CatalogueFormat::Json => format!("{:#}\n", catalogue::json()),
    };
    print(&text)?;
    Ok(Exit::Success)
}
