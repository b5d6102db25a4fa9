package source

import "syscall"

// nonblock keeps a pipe that took a log's place from holding up whoever opens it.
const nonblock = syscall.O_NONBLOCK
