//! The typed frames of `GetProfileStream`, to and from what all call streams share.

use chassis::call_stream::{CallError, Incoming, ServerFrames, Work};
use proto::call::v1 as call;
use proto::profile::v1 as pb;

use pb::get_profile_stream_request::Frame as RequestFrame;
use pb::get_profile_stream_response::Frame as ResponseFrame;

/// The frames of many reads on one stream.
pub(super) enum GetProfileFrames {}

impl ServerFrames for GetProfileFrames {
    type Incoming = pb::GetProfileStreamRequest;
    type Outgoing = pb::GetProfileStreamResponse;
    type Request = pb::GetProfileRequest;
    type Response = pb::GetProfileResponse;

    fn read(frame: Self::Incoming) -> Incoming<Self::Request> {
        let context = frame.context.unwrap_or_default();
        let work = match frame.frame {
            Some(RequestFrame::Request(request)) => Work::Request(request),
            Some(RequestFrame::Cancel(_)) => Work::Cancel,
            None => Work::Unknown,
        };
        Incoming {
            id: frame.id,
            traceparent: context.traceparent,
            timeout_micros: context.timeout_micros,
            work,
        }
    }

    fn response(id: u64, response: Self::Response) -> Self::Outgoing {
        Self::Outgoing { id, frame: Some(ResponseFrame::Response(response)) }
    }

    fn error(id: u64, CallError { code, message, details }: CallError) -> Self::Outgoing {
        Self::Outgoing { id, frame: Some(ResponseFrame::Error(call::CallError { code, message, details })) }
    }

    fn go_away() -> Self::Outgoing {
        Self::Outgoing { id: 0, frame: Some(ResponseFrame::GoAway(call::GoAway {})) }
    }
}
