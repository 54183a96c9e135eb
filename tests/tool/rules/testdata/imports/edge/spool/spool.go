// Package spool may import mail.
package spool

import _ "small/edge/mail"
