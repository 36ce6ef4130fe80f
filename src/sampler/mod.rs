//! Takes samples of one node over one held link, each within the target's time-out.

mod full;

use crate::link::{Link, Target};
use crate::sample::{Failure, Sample};

/// Takes samples of one node.
#[derive(Debug)]
pub struct Sampler {
    target: Target,
    link: Option<Link>,
}

impl Sampler {
    /// A sampler that connects when it is first asked for a sample.
    pub fn new(target: Target) -> Self {
        Self { target, link: None }
    }

    /// Takes a sample, over the held link or a new one.
    ///
    /// # Errors
    /// The node could not be reached or did not answer. What it merely refuses is told in the sample, unless it
    /// refuses everything.
    pub async fn sample(&mut self) -> Result<Sample, Failure> {
        // Taken out, so that a link that failed half-way, or whose sample was given up, is never used again.
        let mut link = match self.link.take().filter(|link| !link.is_closed()) {
            Some(link) => link,
            None => Link::dial(&self.target).await?,
        };
        let sample = full::take(&mut link).await?;
        self.link = Some(link);
        Ok(sample)
    }

    /// The held link, once a sample was taken.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }
}
