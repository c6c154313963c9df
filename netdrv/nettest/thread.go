package nettest

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own, which ends with f. It is never the
// main thread: that one stands for the process in /proc/self, and has to stay
// where the process was started. Go makes its other threads from a clean one,
// so what f does to its thread reaches no other goroutine.
func onThread(f func()) {
	go func() {
		// Never unlocked on the way out: the runtime then ends the thread
		// instead of handing it, namespaces and all, to other goroutines.
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// Hold the main thread until another goroutine surely has another.
		elsewhere := make(chan struct{})
		onThread(func() {
			close(elsewhere)
			f()
		})
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}
