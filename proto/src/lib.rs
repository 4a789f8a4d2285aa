//! The wire contract: what the `.proto` files beside this crate generate, and nothing else.

#![expect(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]

/// Users and sessions.
pub mod auth {
    /// `sallyport.auth.v1`.
    pub mod v1 {
        tonic::include_proto!("sallyport.auth.v1");
    }
}

/// Profiles.
pub mod profile {
    /// `sallyport.profile.v1`.
    pub mod v1 {
        tonic::include_proto!("sallyport.profile.v1");
    }
}

/// What the call streams of all services share.
pub mod call {
    /// `sallyport.call.v1`.
    pub mod v1 {
        tonic::include_proto!("sallyport.call.v1");
    }
}

/// Every file's descriptor, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("sallyport");
