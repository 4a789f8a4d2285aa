//! What is the same for the typed frames of all streaming methods.

/// Implements [`ServerFrames`](crate::call_stream::ServerFrames) for the frames of one streaming method: each direction with its frame, the
/// `oneof` in that, and what it carries. The last line is the module of `sallyport/call/v1/call.proto`.
///
/// ```text
/// chassis::server_frames! {
///     /// Many validations on one stream.
///     pub enum ValidateSessionFrames {
///         v1::ValidateSessionStreamRequest { v1::validate_session_stream_request::Frame { v1::ValidateSessionRequest } }
///         v1::ValidateSessionStreamResponse { v1::validate_session_stream_response::Frame { v1::ValidateSessionResponse } }
///     } proto::call::v1
/// }
/// ```
#[macro_export]
macro_rules! server_frames {
    (
        $(#[$about:meta])*
        $visibility:vis enum $frames:ident {
            $incoming:ty { $incoming_frame:ty { $request:ty } }
            $outgoing:ty { $outgoing_frame:ty { $response:ty } }
        } $($call:ident)::+
    ) => {
        $(#[$about])*
        $visibility enum $frames {}

        impl $crate::call_stream::ServerFrames for $frames {
            type Incoming = $incoming;
            type Outgoing = $outgoing;
            type Request = $request;
            type Response = $response;

            fn read(frame: Self::Incoming) -> $crate::call_stream::Incoming<Self::Request> {
                type Frame = $incoming_frame;
                let context = frame.context.unwrap_or_default();
                let work = match frame.frame {
                    Some(Frame::Request(request)) => $crate::call_stream::Work::Request(request),
                    Some(Frame::Cancel(_)) => $crate::call_stream::Work::Cancel,
                    None => $crate::call_stream::Work::Unknown,
                };
                $crate::call_stream::Incoming {
                    id: frame.id,
                    traceparent: context.traceparent,
                    timeout_micros: context.timeout_micros,
                    work,
                }
            }

            fn response(id: u64, response: Self::Response) -> Self::Outgoing {
                type Frame = $outgoing_frame;
                Self::Outgoing { id, frame: Some(Frame::Response(response)) }
            }

            fn error(id: u64, error: $crate::call_stream::CallError) -> Self::Outgoing {
                type Frame = $outgoing_frame;
                let $crate::call_stream::CallError { code, message, details } = error;
                let error = $($call)::+::CallError { code, message, details };
                Self::Outgoing { id, frame: Some(Frame::Error(error)) }
            }

            fn go_away() -> Self::Outgoing {
                type Frame = $outgoing_frame;
                Self::Outgoing { id: 0, frame: Some(Frame::GoAway($($call)::+::GoAway {})) }
            }
        }
    };
}
