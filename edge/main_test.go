package edge

import (
	"os"
	"testing"

	"anymx/edge/delivery/smtpc/smtptest"
)

func TestMain(m *testing.M) { os.Exit(smtptest.Run(m)) }
