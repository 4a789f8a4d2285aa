//! The calling thread's priority and CPU time.

#![expect(unsafe_code, reason = "the standard library has neither")]

use std::time::Duration;

/// How long a hashing thread keeps a core that somebody else wants: the least that Linux takes (since 6.12, earlier ones ignore it).
/// At the usual 3 ms every request that meets a hash would wait that long.
#[cfg(target_os = "linux")]
const SLICE_NANOS: u64 = 100_000;

/// Sets the calling thread's niceness, which the system lets it raise and not lower. Where it refuses, the priority stays.
pub(super) fn lower(niceness: u8) {
    #[cfg(target_os = "linux")]
    {
        let attributes = libc::sched_attr {
            size: size_of::<libc::sched_attr>() as u32,
            sched_policy: libc::SCHED_OTHER as u32,
            sched_flags: 0,
            sched_nice: niceness.into(),
            sched_priority: 0,
            sched_runtime: SLICE_NANOS,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: the kernel reads as many bytes of the attributes as they say they have; 0 means the calling thread.
        let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if outcome != 0 {
            tracing::warn!(error = %std::io::Error::last_os_error(), "hashing threads keep their priority");
        }
    }
    // Elsewhere the call would slow down the whole process.
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

/// CPU time that the calling thread has used; `None` where the system does not tell.
pub(super) fn cpu_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the structure it is given, which outlives it.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    (outcome == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
