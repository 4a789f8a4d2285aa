//! Lets the hashing threads yield to those that serve requests.

#![expect(unsafe_code, reason = "the standard library cannot set a thread's priority")]

/// Adds to the calling thread's niceness. Where the system refuses, hashing goes on at normal priority.
pub(super) fn lower(niceness: u8) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: setpriority reads its arguments and nothing else; on Linux, 0 means the calling thread.
        let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, libc::c_int::from(niceness)) };
        if outcome != 0 {
            tracing::warn!(error = %std::io::Error::last_os_error(), "hashing threads keep normal priority");
        }
    }
    // Elsewhere the call would slow down the whole process.
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}
