//! Takes samples of one node over one held link, each within the target's time-out.

mod full;

use crate::link::{Link, Target};
use crate::sample::{Failure, Reason, Sample};

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
        if let Some(mut link) = self.link.take() {
            match full::take(&mut link).await {
                // The server may close a link that was quiet for long (`timeout`), or restart: that is told by a new
                // link failing, not by the old one.
                Err(failure) if failure.reason == Reason::Closed => {}
                Err(failure) => return Err(failure),
                Ok(sample) => return Ok(self.keep(link, sample)),
            }
        }
        let mut link = Link::dial(&self.target).await?;
        let sample = full::take(&mut link).await.map_err(|failure| link.explain(failure))?;
        Ok(self.keep(link, sample))
    }

    fn keep(&mut self, link: Link, sample: Sample) -> Sample {
        self.link = Some(link);
        sample
    }

    /// The held link, once a sample was taken.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }
}
