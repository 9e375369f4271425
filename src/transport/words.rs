//! What a node says by itself, without a queue: whoever listens late hears the latest.

use crate::core::{
    evidence::{Evidence, Hard, Misconfigured, Soft},
    watching::Word,
};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream::BoxStream};

/// Words that are passed over in one go, at most. A node that says more in that time is held back by its connection's
/// flow control, not by our memory.
const PASSED_OVER_MAX: usize = 1_024;

/// What a stream says that just stops.
const ENDED: Word = Word::Ended(Evidence::Hard(Hard::Reset));

/// The words of one node until it falls silent for good.
pub struct Words(BoxStream<'static, Word>);

impl Words {
    /// These. A stream that ends without a last [`Word::Ended`] was ended by the node.
    pub fn new(words: impl Stream<Item = Word> + Send + 'static) -> Self {
        Self(words.boxed())
    }

    /// A node without a watch.
    #[must_use]
    pub fn none_offered() -> Self {
        let none = Word::Ended(Evidence::Misconfigured(Misconfigured::Unimplemented));
        Self::new(futures_util::stream::iter([none]))
    }

    /// The same, for as long as `end` does not come to pass. That they then end says nothing about the node.
    #[must_use]
    pub fn until(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        let unheard = Word::Ended(Evidence::Soft(Soft::Unavailable));
        let end = end.map(move |()| unheard).into_stream();
        Self::new(futures_util::stream::select(self.0.chain(futures_util::stream::iter([ENDED])), end))
    }

    /// Waits for a word, and answers the last of those that are there: only how a node is now matters. Waits for as long
    /// as the node says nothing, so whoever calls it has other means of telling a silent node.
    pub async fn latest(&mut self) -> Word {
        let mut latest = self.next().await;
        for _ in 0..PASSED_OVER_MAX {
            match latest {
                Word::Ended(_) => break,
                // The runtime's own budget is smaller than ours, and would end the search unseen.
                Word::Says(_) => match tokio::task::unconstrained(self.next()).now_or_never() {
                    Some(word) => latest = word,
                    None => break,
                },
            }
        }
        latest
    }

    async fn next(&mut self) -> Word {
        self.0.next().await.unwrap_or(ENDED)
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    const SERVING: Word = Word::Says(Evidence::Serving);
    const NOT_SERVING: Word = Word::Says(Evidence::Hard(Hard::NotServing));

    #[tokio::test]
    async fn the_latest_of_many_is_heard_and_the_end_of_all() {
        let last = stream::iter([NOT_SERVING, SERVING, NOT_SERVING]).chain(stream::pending());
        assert_eq!(Words::new(last).latest().await, NOT_SERVING);
        let ended = stream::iter([SERVING, NOT_SERVING]);
        assert_eq!(Words::new(ended).latest().await, Word::Ended(Evidence::Hard(Hard::Reset)));
    }

    #[tokio::test]
    async fn words_that_somebody_else_ends_say_nothing_about_the_node() {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let mut words = Words::new(stream::iter([SERVING]).chain(stream::pending())).until(ended.map(drop));
        assert_eq!(words.latest().await, SERVING);
        drop(end);
        assert_eq!(words.latest().await, Word::Ended(Evidence::Soft(Soft::Unavailable)));
        let broken = Words::new(stream::iter([SERVING])).until(std::future::pending());
        assert_eq!({ broken }.latest().await, ENDED, "contrast: the node ended it");
    }

    #[tokio::test]
    async fn a_node_that_never_stops_does_not_keep_its_listener() {
        let mut words = Words::new(stream::repeat(SERVING));
        assert_eq!(words.latest().await, SERVING);
    }
}
