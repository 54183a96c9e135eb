// Package queue is exempt, and may stay opened anew.
package queue
