// Package spool imports mail, and not queue, which its row also lists.
package spool

import _ "small/edge/mail"
