//! The server's side, frame by frame.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;
use crate::call_stream::serve;
use crate::upstream::tests::fake::{
    CallContext, EchoFrames, Nothing, Record, RequestBody, RequestFrame, ResponseBody, ResponseFrame, handle,
};

struct Session {
    frames: Option<mpsc::UnboundedSender<Result<RequestFrame, Status>>>,
    answers: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<ResponseFrame, Status>> + Send>>,
    record: Arc<Record>,
    shutdown: Shutdown,
}

impl Session {
    fn start() -> Self {
        let (frames, incoming) = mpsc::unbounded_channel();
        let (record, shutdown) = (Arc::new(Record::default()), Shutdown::new());
        let work = {
            let record = record.clone();
            move |request| handle(record.clone(), request)
        };
        let incoming = UnboundedReceiverStream::new(incoming);
        let answers = Box::pin(serve::<EchoFrames, _, _>(incoming, work, "test.EchoService/Echo", &shutdown));
        Self { frames: Some(frames), answers, record, shutdown }
    }

    fn send(&self, id: u64, body: Option<RequestBody>, timeout_micros: u64) {
        let context = Some(CallContext { traceparent: String::new(), timeout_micros });
        self.frames.as_ref().unwrap().send(Ok(RequestFrame { id, context, body })).unwrap();
    }

    fn request(&self, id: u64, request: Echo) {
        self.send(id, Some(RequestBody::Request(request)), 0);
    }

    async fn answer(&mut self) -> Option<Result<ResponseFrame, Status>> {
        tokio::time::timeout(Duration::from_secs(3), self.answers.next()).await.unwrap()
    }

    /// The next answer's id, and its text or code.
    async fn outcome(&mut self) -> (u64, Result<String, Code>) {
        let frame = self.answer().await.unwrap().unwrap();
        let outcome = match frame.body.unwrap() {
            ResponseBody::Response(echo) => Ok(echo.text),
            ResponseBody::Error(error) => Err(Code::from_i32(error.code)),
            ResponseBody::GoAway(_) => Ok("go away".into()),
        };
        (frame.id, outcome)
    }
}

#[tokio::test]
async fn answers_carry_the_id_of_their_request() {
    let mut session = Session::start();
    session.request(7, echo("slow", 100));
    session.request(9, echo("quick", 0));
    assert_eq!(session.outcome().await, (9, Ok("quick".into())));
    assert_eq!(session.outcome().await, (7, Ok("slow".into())));
}

#[tokio::test]
async fn a_deadline_ends_the_work() {
    let mut session = Session::start();
    session.send(1, Some(RequestBody::Request(echo("slow", 5_000))), 50_000);
    assert_eq!(session.outcome().await, (1, Err(Code::DeadlineExceeded)));
    assert_eq!(session.record.dropped("slow"), 1);
}

#[tokio::test]
async fn a_cancel_drops_the_work_and_is_not_answered() {
    let mut session = Session::start();
    session.request(1, echo("slow", 5_000));
    session.request(2, echo("kept", 50));
    session.send(1, Some(RequestBody::Cancel(Nothing {})), 0);
    session.send(99, Some(RequestBody::Cancel(Nothing {})), 0);
    assert_eq!(session.outcome().await, (2, Ok("kept".into())));
    assert_eq!((session.record.begun("slow"), session.record.begun("kept")), (0, 1));
    session.request(3, echo("slow", 5_000));
    session.request(4, echo("kept", 50));
    assert_eq!(session.outcome().await, (4, Ok("kept".into())));
    session.send(3, Some(RequestBody::Cancel(Nothing {})), 0);
    session.request(5, echo("kept", 0));
    assert_eq!(session.outcome().await, (5, Ok("kept".into())));
    assert_eq!(session.record.dropped("slow"), 1);
}

#[tokio::test]
async fn a_frame_without_a_request_fails_alone() {
    let mut session = Session::start();
    session.request(1, echo("kept", 20));
    session.send(2, None, 0);
    assert_eq!(session.outcome().await, (2, Err(Code::InvalidArgument)));
    assert_eq!(session.outcome().await, (1, Ok("kept".into())));
}

#[tokio::test]
async fn a_panic_fails_alone() {
    let mut session = Session::start();
    session.request(1, echo("kept", 20));
    session.request(2, echo("panic", 0));
    assert_eq!(session.outcome().await, (2, Err(Code::Internal)));
    assert_eq!(session.outcome().await, (1, Ok("kept".into())));
}

#[tokio::test]
async fn what_exceeds_the_limit_is_refused_at_once() {
    let mut session = Session::start();
    for id in 1..=1030 {
        session.request(id, echo("slow", 200));
    }
    for id in 1025..=1030 {
        assert_eq!(session.outcome().await, (id, Err(Code::ResourceExhausted)));
    }
    for _ in 1..=1024 {
        assert_eq!(session.outcome().await.1, Ok("slow".into()));
    }
}

#[tokio::test]
async fn it_ends_when_the_client_has_said_all_and_got_its_answers() {
    let mut session = Session::start();
    session.request(1, echo("last", 50));
    session.frames = None;
    assert_eq!(session.outcome().await, (1, Ok("last".into())));
    assert!(session.answer().await.is_none());
}

#[tokio::test]
async fn a_frame_that_does_not_decode_ends_the_stream_after_the_answers_it_owes() {
    let mut session = Session::start();
    session.request(1, echo("owed", 50));
    session.frames.take().unwrap().send(Err(Status::internal("garbage"))).unwrap();
    assert_eq!(session.outcome().await, (1, Ok("owed".into())));
    assert_eq!(session.answer().await.unwrap().unwrap_err().message(), "garbage");
    assert!(session.answer().await.is_none());
}

#[tokio::test]
async fn a_drain_is_told_at_once_and_what_still_arrives_is_answered() {
    let mut session = Session::start();
    session.request(1, echo("early", 300));
    let told = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::select! {
        _ = session.answers.next() => panic!("nothing is ready yet"),
        () = told => {}
    }
    session.shutdown.draining().cancel();
    assert_eq!(session.outcome().await, (0, Ok("go away".into())));
    session.request(2, echo("late", 0));
    assert_eq!(session.outcome().await, (2, Ok("late".into())));
    session.shutdown.stopping().cancel();
    assert_eq!(session.outcome().await, (1, Ok("early".into())));
    assert!(session.answer().await.is_none(), "the stream ends when the process stops");
}
