//! Sleeps to the microsecond. The runtime's own timer counts milliseconds, which is longer than most of what is measured here.

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the runtime cannot know by itself that a descriptor stays open")]
mod precise {
    use std::io::{self, ErrorKind};
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    pub struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            // SAFETY: an `OwnedFd` is the same open descriptor for as long as the `AsyncFd` owns it.
            Ok(Self(unsafe { AsyncFd::register(timer) }?))
        }

        pub async fn until(&mut self, moment: Instant) -> io::Result<()> {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let setting = Itimerspec { it_interval: never, it_value: once };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &setting)?;
            loop {
                let mut ready = self.0.readable().await?;
                let mut expirations = [0; 8];
                match rustix::io::read(self.0.get_ref(), &mut expirations) {
                    Ok(_) => return Ok(()),
                    Err(error) if io::Error::from(error).kind() == ErrorKind::WouldBlock => {
                        ready.clear_ready();
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// One sleeper.
#[cfg(target_os = "linux")]
pub use precise::Timer;

#[cfg(not(target_os = "linux"))]
mod coarse {
    use std::io;
    use std::time::Instant;

    pub struct Timer;

    impl Timer {
        pub fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub async fn until(&mut self, moment: Instant) -> io::Result<()> {
            tokio::time::sleep_until(moment.into()).await;
            Ok(())
        }
    }
}

/// One sleeper, less exact.
#[cfg(not(target_os = "linux"))]
pub use coarse::Timer;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn a_sleep_is_never_too_short() -> std::io::Result<()> {
        let mut timer = Timer::new()?;
        for micros in [0, 50, 300, 2_000] {
            let moment = Instant::now() + Duration::from_micros(micros);
            timer.until(moment).await?;
            assert!(Instant::now() >= moment);
        }
        Ok(())
    }
}
