//! Many small requests to the store as few: one task takes with it whatever has come up while the last group was under
//! way, and a moment longer.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Writes in one transaction at most: the other stages want the writer too.
const LARGEST_GROUP: usize = 256;
/// How long the first of a group waits for others. Each statement wakes a thread and each commit syncs a file, which is
/// most of what a judgement costs us; beside a model's answer it is nothing.
const LINGER: Duration = Duration::from_millis(20);

/// The way in.
#[derive(Debug)]
pub(super) struct Grouped<T, A> {
    entries: mpsc::UnboundedSender<(T, oneshot::Sender<A>)>,
}

/// The other end of a [`Grouped`].
#[derive(Debug)]
pub(super) struct Entries<T, A> {
    entries: mpsc::UnboundedReceiver<(T, oneshot::Sender<A>)>,
}

/// A way in, and what comes out of it.
pub(super) fn grouped<T, A>() -> (Grouped<T, A>, Entries<T, A>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Grouped { entries: sender }, Entries { entries: receiver })
}

impl<T, A> Grouped<T, A> {
    /// Hands in an entry and waits for its answer; `None` when the store had none.
    pub(super) async fn submit(&self, entry: T) -> Option<A> {
        let (sender, answer) = oneshot::channel();
        self.entries.send((entry, sender)).ok()?;
        answer.await.ok()
    }
}

/// Those who wait for a group's commit, in its order.
pub(super) struct Waiting<A>(Vec<oneshot::Sender<A>>);

impl<T, A> Entries<T, A> {
    /// The next group, and those who wait for it; `None` when every way in is gone.
    pub(super) async fn next(&mut self) -> Option<(Vec<T>, Waiting<A>)> {
        let mut group = vec![self.entries.recv().await?];
        if self.entries.len() + 1 < LARGEST_GROUP {
            tokio::time::sleep(LINGER).await;
        }
        if !self.entries.is_empty() {
            self.entries.recv_many(&mut group, LARGEST_GROUP - 1).await;
        }
        let (entries, waiting) = group.into_iter().unzip();
        Some((entries, Waiting(waiting)))
    }
}

impl<A> Waiting<A> {
    /// Answers each in order; who gets no answer knows that nothing was committed.
    pub(super) fn answer(self, answers: Vec<A>) {
        for (waiting, answer) in self.0.into_iter().zip(answers) {
            // Whoever has gone meanwhile needs no answer.
            let _gone = waiting.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_committed_together_and_each_gets_its_own_answer() {
        let (way_in, mut entries) = grouped::<u32, u32>();
        let committing = async {
            let mut groups = 0;
            while let Some((group, waiting)) = entries.next().await {
                groups += 1;
                waiting.answer(group.into_iter().map(|number| number * 2).collect());
            }
            groups
        };
        let asking = async move { join_all((0..300).map(|number| way_in.submit(number))).await };
        let (answers, groups) = tokio::join!(asking, committing);
        assert_eq!(answers, (0..300).map(|number| Some(number * 2)).collect::<Vec<_>>());
        assert_eq!(groups, 2);
    }

    #[tokio::test]
    async fn what_was_not_committed_has_no_answer() {
        let (way_in, mut entries) = grouped::<u32, u32>();
        let asking = async move { way_in.submit(1).await };
        let failing = async { entries.next().await.unwrap().1.answer(Vec::new()) };
        assert_eq!(tokio::join!(asking, failing).0, None);
    }
}
