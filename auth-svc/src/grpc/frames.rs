//! The typed frames of the call streams.

use proto::auth::v1 as pb;

chassis::server_frames! {
    /// Many validations on one stream.
    pub(super) enum ValidateSessionFrames {
        pb::ValidateSessionStreamRequest { pb::validate_session_stream_request::Frame { pb::ValidateSessionRequest } }
        pb::ValidateSessionStreamResponse { pb::validate_session_stream_response::Frame { pb::ValidateSessionResponse } }
    } proto::call::v1
}

chassis::server_frames! {
    /// Many reads on one stream.
    pub(super) enum GetUserFrames {
        pb::GetUserStreamRequest { pb::get_user_stream_request::Frame { pb::GetUserRequest } }
        pb::GetUserStreamResponse { pb::get_user_stream_response::Frame { pb::GetUserResponse } }
    } proto::call::v1
}
