# frozen_string_literal: true

module Changeover
  module Rack
    # Puts the side of the request's user into `env["changeover.side"]` and into a header of the answer.
    #
    #   use Changeover::Rack::Side, flag: "billing-allocation", user: ->(env) { env["rack.session"]["user_id"] }
    class Side
      HEADER = "X-Changeover-Side"

      # @param flag [String] the change's flag, whose variants are "old" and "new"
      # @param user [#call] env → the user's id, or nil if nobody is signed in, who is on the old side
      def initialize(app, flag:, user:, client: nil, header: HEADER)
        @app = app
        @flag = flag
        @user = user
        @client = client
        @header = header
      end

      def call(env)
        side, known = side_of(env)
        env["changeover.side"] = side
        env["changeover.side_known"] = known
        status, headers, body = @app.call(env)
        headers = headers.frozen? ? headers.to_h.dup : headers
        headers[@header] = side
        [status, headers, body]
      end

      private

      # What is not known is old, and said to be not known: a page may be guessed, a bill may not.
      def side_of(env)
        user = @user.call(env)
        return ["old", true] if user.nil?

        details = (@client || Changeover.client).details(@flag, nil, user.to_s)
        %w[old new].include?(details.variant) ? [details.variant, details.error.nil?] : ["old", false]
      rescue StandardError
        ["old", false]
      end
    end
  end
end
