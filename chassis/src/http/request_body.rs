//! The bodies of requests, which remember whether they were read to their end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What comes after a request's headers.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    /// `None` when there is nothing to read.
    rest: Option<Rest>,
}

/// Whether anything of a body is left on its connection.
#[derive(Debug, Clone)]
pub(super) struct Rest(Arc<AtomicBool>);

impl Rest {
    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming) -> Self {
        let rest = (!incoming.is_end_stream()).then(|| Rest(Arc::new(AtomicBool::new(true))));
        Self { incoming, rest }
    }

    pub(super) fn rest(&self) -> Option<Rest> {
        self.rest.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        let ended = matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream();
        if let (true, Some(rest)) = (ended, &self.rest) {
            rest.0.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
