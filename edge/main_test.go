package edge

import (
	"os"
	"testing"

	"anymx/edge/smtpc/smtptest"
)

func TestMain(m *testing.M) { os.Exit(smtptest.Run(m)) }
