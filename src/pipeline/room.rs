//! Memory for what is received and not yet stored or published: bounded, and beyond that a source is told to come back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::intake::NotStored;

const BYTES_PER_PERMIT: usize = 1_024;

/// All the room there is; clones share it.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// One permit a kibibyte.
    all: Arc<Semaphore>,
    size: u32,
}

impl Rooms {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let size = u32::try_from(bytes / BYTES_PER_PERMIT).unwrap_or(u32::MAX).max(1);
        Self { all: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Room, of which nothing is taken yet.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { all: self.clone(), taken: None }
    }
}

/// Room for one request; dropped, it is given back.
#[derive(Debug)]
pub struct Room {
    all: Rooms,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Makes it large enough for `bytes` in all. For more than all the room there is, all of it will do.
    ///
    /// # Errors
    /// Too much waits already; what was taken stays taken.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), NotStored> {
        let wanted = u32::try_from(bytes.div_ceil(BYTES_PER_PERMIT)).unwrap_or(u32::MAX).min(self.all.size);
        let missing = wanted.saturating_sub(u32::try_from(self.permits()).unwrap_or(u32::MAX));
        let more = Arc::clone(&self.all.all).try_acquire_many_owned(missing).map_err(|_| NotStored::Full)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// How much is taken, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permits() * BYTES_PER_PERMIT
    }

    fn permits(&self) -> usize {
        self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}
