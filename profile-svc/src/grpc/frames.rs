//! The typed frames of the call stream.

use proto::profile::v1 as pb;

chassis::server_frames! {
    /// Many reads on one stream.
    pub(super) enum GetProfileFrames {
        pb::GetProfileStreamRequest { pb::get_profile_stream_request::Frame { pb::GetProfileRequest } }
        pb::GetProfileStreamResponse { pb::get_profile_stream_response::Frame { pb::GetProfileResponse } }
    } proto::call::v1
}
