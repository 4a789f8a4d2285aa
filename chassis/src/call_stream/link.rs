//! One call stream: the requests of one method that are in flight on one connection, and the bytes to and fro.
//!
//! Callers write their frames into one buffer, which goes out as a whole whenever the connection takes it, so that calls made
//! at the same moment share a packet. One task reads the answers. A link is opened once and never repaired; what was in flight
//! when it ends is lost, and where that goes next is the caller's affair.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use prost::Message;
use slab::Slab;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};

use super::frames::{ResponseBody, ResponseFrames, put_cancel, put_request};
use crate::trace::TraceContext;
use crate::upstream::attempts::Unanswered;
use crate::upstream::connection::{Connection, Signals, request_head};

/// Frames that wait for the peer to read. More than this means that it does not.
const MAX_BUFFERED_BYTES: usize = 1024 * 1024;

/// Holds the frames of a busy moment without growing.
const OUTGOING_CAPACITY: usize = 8 * 1024;

/// Ids hold the slot in their low bits, and above a sequence number that tells its tenants apart.
const SLOT_BITS: u32 = 16;

pub(crate) struct Link {
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    slots: Slab<Slot>,
    sequence: u64,
    limit: usize,
    outgoing: BytesMut,
    /// Wakes the request body: there is something to send, or nothing more to come.
    sender: Option<Waker>,
    has_answered: bool,
}

enum Phase {
    Open,
    /// The server asked for no more requests. What is in flight gets its answers, then the stream ends.
    GoingAway,
    Ended {
        at: Instant,
        /// What the server said instead of serving the stream.
        refusal: Option<Status>,
    },
}

struct Slot {
    id: u64,
    state: SlotState,
}

enum SlotState {
    Waiting(Option<Waker>),
    Done(Result<Result<Bytes, Status>, Unanswered>),
}

/// How a link has ended.
pub(super) struct Ending {
    pub(super) at: Instant,
    pub(super) refusal: Option<Status>,
    /// Whether it was of any use before.
    pub(super) has_answered: bool,
}

impl Link {
    /// Begins a stream on the connection. Frames may follow at once: the answer's head is not waited for.
    pub(super) fn open(connection: &Connection, path: PathAndQuery, limit: usize) -> Arc<Self> {
        let inner = Inner {
            phase: Phase::Open,
            slots: Slab::new(),
            sequence: 0,
            limit: limit.min(1 << SLOT_BITS),
            outgoing: BytesMut::with_capacity(OUTGOING_CAPACITY),
            sender: None,
            has_answered: false,
        };
        let link = Arc::new(Self { inner: Mutex::new(inner) });
        let (head, ()) = request_head(path).into_parts();
        let response = connection.send(Request::from_parts(head, Body::new(Outgoing(link.clone()))));
        let reader = Reader { link: link.clone(), refusal: None };
        connection.spawn(reader.run(response, connection.signals().clone()));
        link
    }

    /// Sends a request; the answer comes out of what is returned, in any order. Dropping that withdraws the request.
    pub(super) fn submit(
        self: &Arc<Self>,
        context: Option<TraceContext>,
        timeout_micros: u64,
        request: &impl Message,
    ) -> Result<Pending, Unanswered> {
        let mut inner = self.lock();
        if !matches!(inner.phase, Phase::Open) {
            return Err(Unanswered::NotSent);
        }
        if inner.slots.len() >= inner.limit || inner.outgoing.len() >= MAX_BUFFERED_BYTES {
            return Err(Unanswered::Full);
        }
        inner.sequence += 1;
        let sequence = inner.sequence;
        let entry = inner.slots.vacant_entry();
        let id = (sequence << SLOT_BITS) | entry.key() as u64;
        entry.insert(Slot { id, state: SlotState::Waiting(None) });
        put_request(&mut inner.outgoing, id, context, timeout_micros, request);
        let sender = inner.sender.take();
        drop(inner);
        if let Some(sender) = sender {
            sender.wake();
        }
        Ok(Pending { link: self.clone(), id, settled: false })
    }

    pub(super) fn takes_requests(&self) -> bool {
        matches!(self.lock().phase, Phase::Open)
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        let inner = self.lock();
        match &inner.phase {
            Phase::Ended { at, refusal } => {
                Some(Ending { at: *at, refusal: refusal.clone(), has_answered: inner.has_answered })
            }
            _ => None,
        }
    }

    fn answer(&self, id: u64, answer: Result<Bytes, Status>) {
        let mut inner = self.lock();
        inner.has_answered = true;
        // An answer nobody waits for any more is one that crossed its cancellation.
        if let Some(slot) = inner.slots.get_mut(slot_of(id)).filter(|slot| slot.id == id) {
            let before = std::mem::replace(&mut slot.state, SlotState::Done(Ok(answer)));
            drop(inner);
            if let SlotState::Waiting(Some(waker)) = before {
                waker.wake();
            }
        }
    }

    fn go_away(&self) {
        let mut inner = self.lock();
        if matches!(inner.phase, Phase::Open) {
            inner.phase = Phase::GoingAway;
            inner.wake_sender();
        }
    }

    /// Everything in flight is lost, or was refused with the stream.
    pub(super) fn end(&self, refusal: Option<Status>) {
        let mut inner = self.lock();
        if matches!(inner.phase, Phase::Ended { .. }) {
            return;
        }
        let mut wakers = Vec::new();
        for (_, slot) in &mut inner.slots {
            if let SlotState::Waiting(waker) = &mut slot.state {
                wakers.extend(waker.take());
                let unanswered = refusal.clone().map_or(Unanswered::Lost, Unanswered::Refused);
                slot.state = SlotState::Done(Err(unanswered));
            }
        }
        inner.phase = Phase::Ended { at: Instant::now(), refusal };
        inner.outgoing = BytesMut::new();
        inner.wake_sender();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake_sender(&mut self) {
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
    }

    fn release(&mut self, id: u64) {
        let _ = self.slots.try_remove(slot_of(id));
        if self.slots.is_empty() && matches!(self.phase, Phase::GoingAway) {
            self.wake_sender();
        }
    }
}

fn slot_of(id: u64) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
}

/// A request in flight.
pub(super) struct Pending {
    link: Arc<Link>,
    id: u64,
    settled: bool,
}

impl Future for Pending {
    /// The replica's answer, which may be a status, or none.
    type Output = Result<Result<Bytes, Status>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut inner = this.link.lock();
        let Some(slot) = inner.slots.get_mut(slot_of(this.id)).filter(|slot| slot.id == this.id) else {
            return Poll::Ready(Err(Unanswered::Lost));
        };
        match &mut slot.state {
            SlotState::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            SlotState::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            SlotState::Done(_) => {}
        }
        let SlotState::Done(result) = std::mem::replace(&mut slot.state, SlotState::Waiting(None)) else {
            return Poll::Pending;
        };
        this.settled = true;
        inner.release(this.id);
        Poll::Ready(result)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut inner = self.link.lock();
        let waits =
            inner.slots.get(slot_of(self.id)).is_some_and(|slot| matches!(slot.state, SlotState::Waiting(_)));
        if waits && !matches!(inner.phase, Phase::Ended { .. }) {
            put_cancel(&mut inner.outgoing, self.id);
            inner.wake_sender();
        }
        inner.release(self.id);
    }
}

/// The body of the stream's request: whatever frames there are.
struct Outgoing(Arc<Link>);

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut inner = self.0.lock();
        if !inner.outgoing.is_empty() {
            let frames = inner.outgoing.split().freeze();
            return Poll::Ready(Some(Ok(Frame::data(frames))));
        }
        match inner.phase {
            Phase::Ended { .. } => Poll::Ready(None),
            Phase::GoingAway if inner.slots.is_empty() => Poll::Ready(None),
            _ => {
                inner.sender = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Ends the link when it is dropped, however that comes about.
struct Reader {
    link: Arc<Link>,
    refusal: Option<Status>,
}

impl Reader {
    async fn run(
        mut self,
        response: impl Future<Output = Result<Response<Incoming>, Unanswered>>,
        signals: Signals,
    ) {
        let Ok(response) = response.await else { return };
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.refusal = (status.code() != Code::Ok).then_some(status);
            return;
        }
        let status = response.status();
        let mut frames = Streaming::new_response(ResponseFrames, response.into_body(), status, None, None);
        loop {
            let frame = match frames.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(status) => {
                    // With a source it is the transport that failed; without one the server said so itself.
                    self.refusal = std::error::Error::source(&status).is_none().then_some(status);
                    return;
                }
            };
            signals.hear();
            match frame.body {
                Some(ResponseBody::Response(message)) => self.link.answer(frame.id, Ok(message)),
                Some(ResponseBody::Error(error)) => self.link.answer(frame.id, Err(error.into())),
                Some(ResponseBody::GoAway(_)) => {
                    self.link.go_away();
                    signals.drain();
                }
                // A kind of frame that a newer server may send.
                None => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.link.end(self.refusal.take());
    }
}
